"""README and docs/: links lead somewhere, every page is near, README and sentences are short."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

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
