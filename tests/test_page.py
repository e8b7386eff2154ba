"""The report's page: what it holds, that it stands by itself, that a browser shows it well."""

import contextlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.data.formats.base import Sample
from pipeline.reporting.columns import Column, Number, Table
from pipeline.reporting.figures.accuracy import name_family, select_front
from pipeline.reporting.figures.gallery import WORDS
from pipeline.reporting.page import html
from pipeline.reporting.pictures import drawing
from pipeline.reporting.sections import Section
from pipeline.settings import params
from pipeline.stages import figures, pictures, report
from tests import reporting
from tests.conftest import ROOT
from tests.reporting import CLAIMS
from tests.test_report import SETTINGS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking "
    "--disable-component-update --disable-sync --no-first-run"
)


class Elements(HTMLParser):
    """All elements with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_is_one_file_with_every_figure_and_picture(reports: Path) -> None:
    text = (reports / "index.html").read_text(encoding="utf-8")
    assert len(text.encode()) < 5e6
    elements = Elements(text).found
    images = [given for tag, given in elements if tag == "img"]
    assert all(i["src"].startswith("data:") and i["alt"] for i in images)  # type: ignore[union-attr]
    for tag, given in elements:
        if tag in ("script", "iframe", "object") or (tag == "link" and given["rel"] != "icon"):
            assert not {"src", "href", "data"} & given.keys()
        if tag == "a" and not given["href"].startswith("#"):  # type: ignore[union-attr]
            file = str(given["href"]).partition("#")[0]
            folder = ROOT / "reports/embedded" if file.startswith("../../") else reports
            assert (folder / file).exists(), file
    shown = {i["alt"] for i in images}
    for figure in WORDS.values():
        for name, (alternative, _) in figure.items():
            assert alternative in shown
            assert "currentColor" in (reports / f"figures/{name}.svg").read_text(encoding="utf-8")
            assert (reports / f"figures/{name}.pdf").read_bytes().startswith(b"%PDF")
            assert len(pd.read_csv(reports / f"figures/{name}.csv"))
    assert len(images) == sum(map(len, WORDS.values())) + 15 + (1 + 5 + 5) + 1
    size = sum(file.stat().st_size for file in reports.glob("pictures/*"))
    assert size < 1.5e6


def test_the_summary_is_short_and_its_links_lead_somewhere(reports: Path) -> None:
    text = (reports / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) < 900
    assert len(text.splitlines()) < 100
    links = re.findall(r"\]\(([^)#]*)[^)]*\)", text)
    assert {"index.html", "tables/ablation.md", "figures/", "../results/embedded.jsonl"} <= set(
        links
    )
    missing = [link for link in links if not (reports / link).exists()]
    assert missing == ["../plan.md"]  # not made here
    counts = json.loads((reports / "metrics.json").read_text(encoding="utf-8"))["results"]
    assert sum(counts.values()) == 9  # the tenth claim is on cost
    for verdict, number in counts.items():
        assert len(re.findall(rf"\| {verdict}[: ]", text)) == number
    frame = pd.read_csv(reports / "tables/ablation.csv").set_index("variant")
    for name, miou, sd, n in frame[["miou", "sd", "n"]].itertuples():
        (row,) = re.findall(rf"\| {name} +\|(.*)\|", text.split("## Sampling")[0])
        cells = [cell.strip() for cell in row.split("|")]
        assert cells[1:4] == [f"{miou:.1f}", f"{sd:.1f}", str(n)]
        assert cells[4] == f"{frame.loc[name, 'published']:.1f}†"


def test_the_index_begins_with_the_ledger_and_its_links_lead_somewhere(reports: Path) -> None:
    root = reports.parent
    text = (root / "README.md").read_text(encoding="utf-8")
    ledger, cost = text.index("## The paper's claims"), text.index("## The paper's claims on cost")
    assert ledger < 150
    assert all(
        claim.words in text[ledger:cost] for claim in CLAIMS.values() if not claim.is_of_cost
    )
    for claim in CLAIMS.values():
        if claim.built_in:
            assert claim.built_in in text
    page = (root / "index.html").read_text(encoding="utf-8")
    anchors = {str(given.get("id")) for _, given in Elements(page).found}
    for target in re.findall(r"\]\(([^)]*)\)", text):
        file, _, anchor = target.partition("#")
        assert (root / file).exists()
        assert not anchor or anchor in anchors


def test_each_variant_has_a_page_of_its_own(reports: Path) -> None:
    settings = params.load(reports.parents[1] / "params.yaml")
    folder = reports / "variants"
    assert {f.stem for f in folder.glob("*.html")} == set(settings.rows)
    front = (reports / "index.html").read_text(encoding="utf-8")
    for name in settings.rows:
        text = (folder / f"{name}.html").read_text(encoding="utf-8")
        assert f'href="variants/{name}.html"' in front
        assert f"evaluate@{name}-{settings.seeds[0]}" in text
        for tag, given in Elements(text).found:
            link = str(given.get("href") or "#").partition("#")[0]
            if tag == "a" and link and not link.startswith("https:"):
                assert (folder / link).exists()
    ann, ppm = ((folder / f"{n}.html").read_text(encoding="utf-8") for n in ("ann", "ppm"))
    shared = "https://github.com/MendelXu/ANN/blob/f4eabeb/models/seg/utils/apnb.py#L64"
    assert shared in ann  # query and key are one convolution there
    assert "Both blocks together are best." in ann
    assert "No claim speaks of this row." in ppm
    assert "ann - fnb_nb" in ann
    assert "nb - baseline" not in ann
    assert ann.count("<img") == 1 + 15  # its curve, and three images in five pictures


def test_text_and_cells_are_shown_literally() -> None:
    frame = pd.DataFrame({"row": ["a_b_c", "<b>"], "mIoU": ["45.0 ± 0.5", ""], "x": ["`k`", "no"]})
    table = Table(frame, (Column("row"), Number("mIoU"), Column("x")))
    section = Section("one", "<One>", intro="1 < 2 & *so* <i>on</i>", table=table)
    text = html.render_page([Section("results", "Results", 1), section], Path())
    assert "&lt;One&gt;" in text
    assert "1 &lt; 2 &amp; <em>so</em> &lt;i&gt;on" in text
    assert '<th scope="row">a_b_c</th>' in text
    assert "&lt;b&gt;" in text
    assert '<td class="n">45.0 ± 0.5</td>' in text
    assert "<td><code>k</code></td>" in text


@pytest.mark.slow
def test_a_report_of_nothing_says_what_is_missing_and_how_to_make_it(tmp_path: Path) -> None:
    root = reporting.prepare_root(tmp_path / "root")
    shutil.rmtree(root / "reports/efficiency")
    for name in ("networks.json", "curves.csv"):
        (root / "reports/embedded" / name).unlink()
    (root / "reports/results/embedded.jsonl").write_text("", encoding="utf-8")
    with contextlib.chdir(root):
        report.main()
        text = (root / "reports/embedded/index.html").read_text(encoding="utf-8")
        assert "There are none yet: <code>dvc repro -s pictures report</code>" in text
        assert text.count("Not drawn from these results yet") == sum(map(len, WORDS.values()))
        assert "<img" not in text
        assert text.count('<span class="verdict not-measured">') == 9 + 17  # claims, their tests

        figures.main()  # of no result
        pictures.main()  # of no network
        about = json.loads(
            Path("reports/embedded/pictures/pictures.json").read_text(encoding="utf-8")
        )
        assert about["rows"] == []
        assert about["missing"][0].startswith(
            "baseline-0 is not trained: `dvc repro evaluate@baseline-0`, then"
        )
        report.main()
        text = (root / "reports/embedded/index.html").read_text(encoding="utf-8")
        assert "Left out: baseline-0 is not trained: <code>dvc repro evaluate@baseline-0" in text
        assert text.count("Not drawn, because") == sum(map(len, WORDS.values()))


def test_what_was_made_of_other_results_is_not_shown(reports: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(reports.parents[1], root, ignore=shutil.ignore_patterns("data"))
    lines = (root / "reports/results/embedded.jsonl").read_text(encoding="utf-8").splitlines()
    record = json.loads(lines[0])["record"]
    changed = lines[0].replace(record["weights_sha256"], "0" * 64)
    (root / "reports/results/embedded.jsonl").write_text(
        "\n".join([changed, *lines[1:]]) + "\n", encoding="utf-8"
    )
    with contextlib.chdir(root):
        report.main()
    text = (root / "reports/embedded/index.html").read_text(encoding="utf-8")
    assert text.count("Not drawn from these results yet") == sum(map(len, WORDS.values()))
    assert "are of other networks than the tables: <code>dvc repro -s pictures report" in text
    assert "<img" not in text


@pytest.mark.slow
def test_pictures_are_chosen_by_the_rule_and_the_same_again(tmp_path: Path) -> None:
    root = reporting.prepare_root(tmp_path / "root")
    reporting.add_weights(root, ("baseline", "ann", "apnb"))
    with contextlib.chdir(root):
        pictures.main()
        files = sorted(Path("reports/embedded/pictures").iterdir())
        before = [f.read_bytes() for f in files]
        pictures.main()
        assert [
            f.read_bytes() for f in sorted(Path("reports/embedded/pictures").iterdir())
        ] == before
        about = json.loads(
            Path("reports/embedded/pictures/pictures.json").read_text(encoding="utf-8")
        )
        mious = [row["miou"]["ann"] for row in about["rows"]]
        assert mious == sorted(mious, reverse=True)
        assert [a["variant"] for a in about["attention"]] == ["apnb"]
        assert set(about["attention"][0]["files"]) == {"positions", "1", "3", "6", "8"}
        missing = [sentence.split()[0] for sentence in about["missing"]]
        assert missing == ["nb-0", "afnb-0", "there"]  # and no contact sheet
        # What is drawn is what evaluation counts: the share of right pixels of the median image.
        source = drawing.open_source(params.load(), Path())
        order = drawing.rank_images(source, source.load_network("ann"))
        assert [order[-1][0], order[(len(order) - 1) // 2][0], order[0][0]] == mious


def test_the_point_lies_in_what_only_the_full_network_has_right() -> None:
    label = np.zeros((20, 30), np.uint8)
    label[4:7, 8:28] = 1  # the largest
    label[12:17, 2:7] = 1  # not as large, but wider at its narrowest
    sample = Sample(np.zeros((20, 30, 3), np.uint8), label)
    wrong = np.zeros_like(label)
    assert drawing.choose_point(sample, wrong, label) == ((5 + 0.5) / 20, (9 + 0.5) / 30)
    assert drawing.choose_point(sample, label, label) == (0.5, 0.5)


def test_the_front_has_each_row_that_no_cheaper_one_reaches() -> None:
    rows = [
        ("a", 1.0, 50.0),
        ("b", 2.0, 50.0),
        ("c", 1.0, 40.0),
        ("d", 3.0, 60.0),
        ("e", 4.0, 55.0),
    ]
    frame = pd.DataFrame(rows, columns=["variant", "gflops", "miou"])
    assert list(select_front(frame)["variant"]) == ["a", "d"]


def test_families_are_by_what_a_block_attends_to() -> None:
    families = {
        name: name_family(SETTINGS, name) for name in ("common", "fnb_nb", "afnb", "ann", "nb")
    }
    assert families == {
        "common": "no non-local block",
        "nb": "every position (NB, FNB)",
        "fnb_nb": "every position (NB, FNB)",
        "afnb": "anchors (APNB, AFNB)",
        "ann": "anchors (APNB, AFNB)",
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed; `apt-get install chromium`")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS.split())
        yield opened
        opened.close()


@pytest.mark.parametrize("place", ["index.html", "../index.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_a_browser_shows_all_of_it(
    browser: Any, reports: Path, width: int, scheme: str, place: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, told, asked = context.new_page(), [], []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    start = time.monotonic()
    page.goto((reports / place).resolve().as_uri())
    assert time.monotonic() - start < 5  # about 0.5 s on an idle machine
    assert told == []
    assert [url[:60] for url in asked if not url.startswith(("file:", "data:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert page.evaluate(broken) == 0
    context.close()


@pytest.mark.parametrize("place", ["index.html", "../index.html"])
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_it_is_accessible(browser: Any, reports: Path, width: int, scheme: str, place: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.goto((reports / place).resolve().as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    found = Axe().run(page).response["violations"]
    bad = [v["id"] for v in found if v["impact"] in ("serious", "critical")]
    assert bad == []
    context.close()


def test_tables_are_sorted_by_keyboard(browser: Any, reports: Path) -> None:
    page = browser.new_page()
    page.goto((reports / "index.html").as_uri())

    def column(number: int) -> list[str]:
        script = "(t, n) => [...t.tBodies[0].rows].map(r => r.cells[n].textContent)"
        cells: list[str] = page.locator("#ablation table").first.evaluate(script, number)
        return cells

    def values() -> list[float]:
        return [float(cell.split()[0]) for cell in column(2)]

    before = column(0)
    button = page.locator("#ablation thead button").nth(2)
    heading = page.locator("#ablation thead th").nth(2)
    assert button.inner_text().startswith("mIoU")
    button.focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(values())
    page.keyboard.press("Space")
    assert heading.get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True)
    assert sorted(column(0)) == sorted(before)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") is None
    page.close()


def test_long_tables_have_a_filter(browser: Any, reports: Path) -> None:
    page = browser.new_page()
    page.goto((reports / "index.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    field = page.locator(".filter input").first
    table = page.locator(".filter + .scroll table").first
    rows = table.locator("tbody tr")
    first = rows.first.locator("th").inner_text()
    assert rows.count() > 10
    field.fill(f" {first.upper()}")
    shown = [row.inner_text() for row in rows.all() if row.is_visible()]
    assert 0 < len(shown) < rows.count()
    assert all(first.lower() in text.lower() for text in shown)
    field.fill("no row has this")
    assert not any(row.is_visible() for row in rows.all())
    field.fill("")
    assert all(row.is_visible() for row in rows.all())
    page.close()


def test_paper_shows_what_is_folded(browser: Any, reports: Path, tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto((reports / "index.html").as_uri())
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    page.close()


def test_pictures_are_small_and_of_the_images_shape(reports: Path) -> None:
    with Image.open(reports / "pictures/best-image.webp") as picture:
        assert picture.size == (128, 64)
