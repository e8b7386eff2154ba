"""What the page says, section by section, before it is Markdown or anything else."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from pipeline.reporting.provenance import Origin


@dataclass(frozen=True)
class Figure:
    """A picture: its file, as seen from reports/, and what stands for it where it is not seen.

    caption: what stands under it, a plain text; drawn: whether a CSV and a PDF lie beside it.
    """

    file: str
    alternative: str
    caption: str = ""
    drawn: bool = False


@dataclass(frozen=True)
class Strip:
    """Pictures that belong side by side; key: the meaning of their colours, as CSS has them."""

    caption: str
    figures: tuple[Figure, ...]
    key: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Section:
    """A part of the page, in this order: heading, words, table, words, figures, provenance.

    name is the same for the same section in every report, and that of the files in reports/tables;
    without a title there is no heading; intro and notes are Markdown, links as seen from reports/;
    table is as shown, every cell a text; headline is what the page's top says of it; metrics is
    what metrics.json has of it.
    """

    name: str
    title: str = ""
    level: int = 2
    intro: str = ""
    table: pd.DataFrame | None = None
    notes: str = ""
    figures: tuple[Figure, ...] = ()
    strips: tuple[Strip, ...] = ()
    origin: Origin | None = None
    headline: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
