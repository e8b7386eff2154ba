"""README and docs/: links lead somewhere, every page is near, README and sentences are short."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import pytest

from pipeline.engine import yaml_file
from pipeline.reporting.inputs import Overview, read_overview
from pipeline.reporting.markers import replace_block
from pipeline.reporting.readme import render_results
from pipeline.reporting.speed import render_speed
from pipeline.settings import params
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def list_links(page: Path) -> list[str]:
    """Return the targets of a page's links that are no addresses."""
    found = _LINK.findall(page.read_text(encoding="utf-8"))
    return [target for target in found if not target.startswith(("http:", "https:"))]


def name_anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in list_links(page):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in name_anchors(file), target


def test_every_page_is_two_clicks_from_the_readme() -> None:
    near = {ROOT / "README.md"}
    for _ in range(2):
        links = {
            (page.parent / t.partition("#")[0]).resolve() for page in near for t in list_links(page)
        }
        near |= {file for file in links if file.suffix == ".md" and file in PAGES}
    assert near >= set(PAGES)


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 900
    assert len(text.splitlines()) <= 150


@pytest.mark.parametrize(
    ("page", "render"),
    [("README.md", render_results), ("docs/performance.md", render_speed)],
    ids=["readme", "performance"],
)
def test_a_page_has_the_committed_results(
    monkeypatch: pytest.MonkeyPatch, page: str, render: Callable[[Overview], str]
) -> None:
    monkeypatch.chdir(ROOT)
    text = Path(page).read_text(encoding="utf-8")
    results = render(read_overview(params.load()))
    assert results in text
    assert replace_block(text, results) == text
    old = replace_block(text, "old")
    assert results not in old
    assert replace_block(old, results) == text
    assert replace_block("no markers", results) == "no markers"


def list_sentences(text: str) -> list[str]:
    """Return the sentences of a page, without code, tables, headings and comments."""
    text = re.sub(r"^```.*?^```$|<!--.*?-->", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", text)
    lines = ["\n" if re.match(r"\||#| {4}\S", line) else line for line in text.splitlines()]
    blocks = re.split(r"\n\s*\n|^\s*(?:-|\d+\.) ", "\n".join(lines), flags=re.MULTILINE)
    found = [re.split(r"(?<=[.:?!])\s+(?=[A-Z*`†])", " ".join(block.split())) for block in blocks]
    return [sentence for part in found for sentence in part if len(sentence.split()) > 2]


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.name not in ("index.md", "results.md")], ids=lambda p: p.name
)
def test_sentences_are_short(page: Path) -> None:
    counts = {s: len(s.split()) for s in list_sentences(page.read_text(encoding="utf-8"))}
    assert not [sentence for sentence, words in counts.items() if words > 35]
    assert sum(counts.values()) / len(counts) <= 17


def test_a_long_sentence_is_found() -> None:
    text = "# A title\n\nOne two three four. Five six seven,\neight.\n\n- Nine ten eleven.\n"
    assert list_sentences(text) == [
        "One two three four.",
        "Five six seven, eight.",
        "Nine ten eleven.",
    ]


def describe_profile(profile: str) -> str:
    """Return what params.yaml says above a profile: how long it takes, and how well ANN does."""
    results = ROOT / f"reports/results/{profile}.jsonl"
    if results.exists():
        runs = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
        runs = [run for run in runs if run["kind"] == "run"]
        seconds = sum(run["record"]["speed"]["seconds"] for run in runs)
        scores = [
            run["scores"]["protocols"]["whole"]["miou"] for run in runs if run["variant"] == "ann"
        ]
        rows = len({run["variant"] for run in runs})
        return (
            f"Measured: {rows} rows of {len(scores)} seeds took {seconds / 3600:.1f} hours of one "
            f"core. ANN has {100 * mean(scores):.1f} mIoU."
        )
    plan = (ROOT / "reports/plan.md").read_text(encoding="utf-8")
    (line,) = (line for line in plan.splitlines() if line.startswith(f"| {profile} "))
    time = line.split("|")[4].strip()
    published = yaml_file.read_yaml(ROOT / "reports/published.yaml")["headline"]
    figures = {"ade20k": published["ade20k_val"], "pascal_context": published["pascal_context_val"]}
    figures["cityscapes"] = published["cityscapes_test"]
    score = f" Published: {figures[profile]} mIoU, multi-scale." if profile in figures else ""
    return f"Not measured. The plan says {time}.{score}"


@pytest.mark.parametrize("profile", [*params.load(ROOT / "params.yaml").profiles])
def test_params_yaml_says_what_a_profile_takes_and_gives(profile: str) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    above = text.partition(f"\n  {profile}:\n")[0].splitlines()
    comment: list[str] = []
    while above[-1].startswith("  #"):
        comment.insert(0, above.pop().removeprefix("  #").strip())
    assert describe_profile(profile) in " ".join(comment)
