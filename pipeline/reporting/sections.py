"""The parts of the report, before they become HTML or Markdown."""

from dataclasses import dataclass, field
from typing import Any

from pipeline.reporting.columns import Table
from pipeline.reporting.provenance import Origin


@dataclass(frozen=True)
class Figure:
    """A picture in the report.

    Attributes:
        file: Its path below reports/.
        alternative: The text for a reader who does not see it.
        caption: The plain text below it.
        drawn: Whether it is a figure, with a CSV and a PDF file beside it.
    """

    file: str
    alternative: str
    caption: str = ""
    drawn: bool = False


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
    """A table in reports/tables.

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
        intro: Markdown above the table; links start from reports/.
        table: The table on the page.
        notes: Markdown below the table; links start from reports/.
        figures: Pictures below each other.
        strips: Pictures side by side.
        origin: Where the numbers come from.
        headline: What the top of the page says about it.
        metrics: What metrics.json says about it.
        files: The tables to write into reports/tables.
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
    headline: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    files: tuple[TableFile, ...] = ()
