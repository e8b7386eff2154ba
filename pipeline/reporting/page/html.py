"""The page in HTML: reports/index.html, one file that needs no other and no network."""

import base64
import mimetypes
import re
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from pipeline.reporting.provenance import describe_origin
from pipeline.reporting.rendering import make_environment
from pipeline.reporting.sections import Section

UNFOLDED = 12  # rows; a longer table is folded


def render_page(sections: Iterable[Section], root: Path, home: str = "") -> str:
    """Return the page.

    Args:
        sections: The sections; the first stands at the top.
        root: The page's folder; the files of the figures are relative to it.
        home: The way from there to the folder of README.md and tables, with a slash at its end.
    """
    head, *groups = group_sections(sections)
    environment = make_environment()
    environment.filters |= {
        "data": lambda file: encode_file(root / file),
        "origin": describe_origin,
    }
    environment.globals |= {
        "folds": fold_table,
        "size": lambda file: measure_picture(root / file),
        "split": split_notes,
    }
    return str(
        environment.get_template("page.html.j2").render(head=head[0], groups=groups, home=home)
    )


def group_sections(sections: Iterable[Section]) -> list[list[Section]]:
    """Return the sections in groups, each with one heading of the second level."""
    groups: list[list[Section]] = []
    for section in sections:
        if not groups or (section.title and section.level <= 2):
            groups.append([])
        groups[-1].append(section)
    return groups


def split_notes(notes: str) -> tuple[str, str]:
    """Return the first paragraph with the list right after it, and the rest, which is folded."""
    first, *rest = notes.split("\n\n")
    while rest and rest[0].startswith("- "):
        first += "\n\n" + rest.pop(0)
    return first, "\n\n".join(rest)


def fold_table(section: Section) -> bool:
    """Whether the section's table is folded."""
    rows = 0 if section.table is None else len(section.table.frame)
    return rows > UNFOLDED


def encode_file(file: Path) -> str:
    """Return a file as a data URI."""
    kind = mimetypes.guess_type(file.name)[0] or "image/webp"
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


def measure_picture(file: Path) -> tuple[int, int]:
    """Return width and height in pixels, so that the page does not move while it loads."""
    if file.suffix == ".svg":
        box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', file.read_text(encoding="utf-8"))
        assert box is not None, f"{file} has no viewBox"
        return round(float(box[1]) * 4 / 3), round(float(box[2]) * 4 / 3)
    with Image.open(file) as picture:
        return picture.size
