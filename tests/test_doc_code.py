"""The Python blocks of README and docs/ run as they stand, beside the committed results alone."""

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = ["README.md", *sorted(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md"))]
# page -> why its blocks cannot run here, as for a trained network or a GPU
NOT_RUN: dict[str, str] = {}


def run_blocks(page: Path) -> int:
    """Run a page's blocks in order in one namespace; return how many there were.

    An error names the page and the line in it.
    """
    text = page.read_text(encoding="utf-8")
    namespace: dict[str, object] = {"__name__": "page"}
    found = list(_BLOCK.finditer(text))
    assert len(found) == len(re.findall(r"^\s*[`~]{3,}\s*(?:python|py)\b", text, re.MULTILINE))
    for block in found:
        above = text.count("\n", 0, block.start(1))
        exec(compile("\n" * above + block[1], str(page), "exec"), namespace)
    return len(found)


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page in NOT_RUN:
        pytest.skip(NOT_RUN[page])
    for name in ("reports", "params.yaml"):  # the committed results and settings
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    count = run_blocks(ROOT / page)
    assert count > 0 or page != "docs/own-network.md"  # so that not finding any is noticed


def test_a_wrong_block_is_named_by_its_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n\n```python\na = 1\n```\n\n```python\nb = a\nb.c\n```\n", encoding="utf-8"
    )
    with pytest.raises(AttributeError) as error:
        run_blocks(page)
    assert error.traceback[-1].lineno + 1 == 9
    assert Path(error.traceback[-1].path) == page
