"""The parts of the report, before they become HTML or Markdown."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.engine.files import whole_folder, write_json
from pipeline.reporting.columns import Table
from pipeline.reporting.provenance import Origin, describe_origin
from pipeline.reporting.rendering import write_files
from pipeline.settings.paths import ORIGINS


@dataclass(frozen=True)
class Figure:
    """A picture in the report.

    Attributes:
        file: Its path below the page's folder.
        alternative: The text for a reader who does not see it.
        caption: The plain text below it.
        module: For a figure with a CSV and a PDF file beside it, the file that draws it.
    """

    file: str
    alternative: str
    caption: str = ""
    module: str | None = None


@dataclass(frozen=True)
class Strip:
    """Pictures side by side.

    Attributes:
        caption: The plain text above them.
        figures: The pictures.
        key: The meaning of their colours: a name and a colour in CSS.
    """

    caption: str
    figures: tuple[Figure, ...]
    key: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class TableFile:
    """A table in a folder of tables.

    Attributes:
        name: Its files' name without a suffix.
        table: The table.
        notes: What stands below it, in Markdown.
        origin: Where its numbers come from.
    """

    name: str
    table: Table
    notes: str
    origin: Origin


@dataclass(frozen=True)
class Section:
    """A part of the page, in this order: title, intro, table, notes, figures, origin.

    Attributes:
        name: Its anchor, the same in every report.
        title: Its heading; there is none if empty.
        level: The heading's level.
        intro: Markdown above the table; links start from the page's folder.
        table: The table on the page.
        notes: Markdown below the table; links start from the page's folder.
        figures: Pictures below each other.
        strips: Pictures side by side.
        origin: Where the numbers come from.
        metrics: What metrics.json says about it.
        files: The tables to write as files.
    """

    name: str
    title: str = ""
    level: int = 2
    intro: str = ""
    table: Table | None = None
    notes: str = ""
    figures: tuple[Figure, ...] = ()
    strips: tuple[Strip, ...] = ()
    origin: Origin | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    files: tuple[TableFile, ...] = ()


def write_tables(sections: Iterable[Section], folder: Path) -> None:
    """Write the sections' tables into the folder, with a file on where their numbers come from."""
    sections = list(sections)
    with whole_folder(folder) as partial:
        for file in (file for section in sections for file in section.files):
            write_files(
                file.table, partial / file.name, file.notes, describe_origin(file.origin, runs=True)
            )
        write_json(partial / ORIGINS, {s.name: s.origin for s in sections if s.origin})
