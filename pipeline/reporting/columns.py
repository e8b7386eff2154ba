"""How a table's values become text: one description of a column for every output format."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pandas as pd

Row = dict[str, Any]

DAGGER = "†"  # the mark of a figure that is not checked


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        key: The frame's column that it shows.
        title: Its heading; the key if empty.
        format: A format specification for the value, or a function of the whole row.
        missing: The text for a missing value (None, nan or NA), or a function of the whole row.
        align: The side on which the texts line up.
        unit: The size of the unit in which the value is shown, e.g. 1e6 for millions.
        is_verdict: Whether its texts are verdicts, each maybe with a colon and more words.
    """

    key: str
    title: str = ""
    format: str | Callable[[Row], str] = ""
    missing: str | Callable[[Row], str] = ""
    align: Literal["left", "right"] = "left"
    unit: float = 1
    is_verdict: bool = False

    @property
    def heading(self) -> str:
        return self.title or self.key

    def format_cell(self, row: Row) -> str:
        """Return the text of the cell in this row."""
        value = row[self.key]
        if pd.isna(value):
            return self.missing(row) if callable(self.missing) else self.missing
        if callable(self.format):
            return self.format(row)
        return format(value if self.unit == 1 else value / self.unit, self.format)


Number = partial(Column, align="right")


@dataclass(frozen=True)
class Table:
    """A frame of exact values with the columns that a reader sees."""

    frame: pd.DataFrame
    columns: tuple[Column, ...]

    def format_cells(self) -> pd.DataFrame:
        """Return the texts of all cells under the columns' headings."""
        rows: list[Row] = self.frame.to_dict("records")  # type: ignore[assignment]
        return pd.DataFrame({c.heading: [c.format_cell(row) for row in rows] for c in self.columns})
