"""The page in HTML: reports/index.html, one file that needs no other and no network."""

import base64
import mimetypes
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup
from PIL import Image

from pipeline.reporting.provenance import line
from pipeline.reporting.sections import Section

TEMPLATE = Path(__file__).with_name("page")
NUMBER = re.compile(r"[+\-]?\d[\d.]*(†|$|[ x(M%].*)")  # a cell that is read as a number
FEW = 12  # a longer table without a title of its own is folded up
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


def page(sections: Iterable[Section], root: Path) -> str:
    """The sections as one page; their files are taken from `root`, reports/."""
    groups: list[list[Section]] = []
    for section in sections:
        if not groups or (section.title and section.level <= 2):
            groups.append([])
        groups[-1].append(section)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "markdown": words,
        "inline": lambda text: Markup(_MARKDOWN.renderInline(text)),
        "data": lambda file: data(root / file),
        "origin": line,
    }
    environment.globals |= {"table": table, "size": lambda file: size(root / file), "split": split}
    head, *rest = groups
    made: str = environment.get_template("page.html.j2").render(
        head=head[0], groups=rest, claims=claims(s for g in rest for s in g)
    )
    return made


def words(text: str) -> Markup:
    """Markdown as HTML; what looks like HTML in it stays text."""
    return Markup(_MARKDOWN.render(text))


def split(notes: str) -> tuple[str, str]:
    """What is seen at once, the first paragraph and a list right after it, and the rest."""
    first, *rest = notes.split("\n\n")
    while rest and rest[0].startswith("- "):
        first += "\n\n" + rest.pop(0)
    return first, "\n\n".join(rest)


def table(frame: pd.DataFrame) -> dict[str, Any]:
    """Columns with whether they hold numbers, and the rows' cells."""
    rows = frame.astype(str).to_numpy().tolist()
    columns = []
    for i, name in enumerate(frame.columns):
        cells = [row[i] for row in rows if row[i]]
        numbers = sum(bool(NUMBER.match(cell)) for cell in cells)
        columns.append({"name": str(name), "number": i > 0 and 2 * numbers > len(cells)})
    return {"columns": columns, "rows": rows, "long": len(rows) > FEW}


def claims(sections: Iterable[Section]) -> list[dict[str, Any]]:
    """The counts of verdicts of each table that judges the paper's claims."""
    made = []
    for section in sections:
        counts = {k: v for k, v in section.metrics.items() if isinstance(v, int)}
        if sum(counts.values()):
            parts = [(k.replace("_", " "), v) for k, v in counts.items() if v]
            made.append({"section": section, "total": sum(counts.values()), "parts": parts})
    return made


def data(file: Path) -> str:
    """A file as a data URI."""
    kind = mimetypes.guess_type(file.name)[0] or "image/webp"
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


def size(file: Path) -> tuple[int, int]:
    """Width and height in pixels, so that the page does not move while it loads."""
    if file.suffix == ".svg":
        found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', file.read_text(encoding="utf-8"))
        assert found is not None, f"{file} has no viewBox"
        return round(float(found[1]) * 4 / 3), round(float(found[2]) * 4 / 3)
    with Image.open(file) as picture:
        return picture.size
