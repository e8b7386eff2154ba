"""The page in Markdown: reports/README.md."""

from collections.abc import Iterable, Iterator

import pandas as pd

from pipeline.reporting.provenance import line
from pipeline.reporting.sections import Section, Strip


def page(sections: Iterable[Section]) -> str:
    """The sections one after the other."""
    return "\n\n".join(part for section in sections for part in _parts(section)) + "\n"


def table(frame: pd.DataFrame) -> str:
    """A table whose cells stay as they are."""
    return str(frame.to_markdown(index=False, disable_numparse=True))


def _parts(section: Section) -> Iterator[str]:
    if section.title:
        yield f"{'#' * section.level} {section.title}"
    if section.intro:
        yield section.intro
    if section.table is not None:
        yield table(section.table)
    if section.notes:
        yield section.notes
    for figure in section.figures:
        yield f"![{figure.alternative}]({figure.file})"
    for strip in section.strips:
        yield f"{strip.caption}\n\n{_strip(strip)}"
    if section.origin:
        yield line(section.origin)


def _strip(strip: Strip) -> str:
    """A table of one row, the captions above the pictures."""
    cells = [f"![{f.alternative}]({f.file})" for f in strip.figures]
    rows = ([f.caption for f in strip.figures], ["---"] * len(cells), cells)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
