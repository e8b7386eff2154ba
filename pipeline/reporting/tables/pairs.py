"""Compare every two rows of a table over equal seeds."""

from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd

from pipeline.reporting.columns import Column, Number, Row, Table
from pipeline.reporting.provenance import Origin
from pipeline.reporting.results import Results, by_seed
from pipeline.reporting.sections import TableFile
from pipeline.reporting.statistics import LEVEL, MOST_SEEDS, POWER, Pair, adjust, pair

NOTE = (
    "*difference*: the first row minus the second, mIoU in percent, over the seeds that both "
    "have. Brackets: 95 % intervals of Student's t. *p*: paired t-test. *adjusted p*: by Holm's "
    f"method over all pairs of this table; *different*: it is below {LEVEL}. *seeds needed*: the "
    f"fewest seeds with which an unadjusted test finds the measured difference at the measured "
    f"spread {100 * POWER:.0f} % of the time. With a few seeds this number is itself uncertain."
)


def list_values(comparison: Pair) -> dict[str, float]:
    """Return a comparison's values by their names in the CSV files."""
    difference = comparison.difference
    return {
        "difference": difference.value,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "p": comparison.p,
        "seeds_needed": comparison.seeds_needed,
    }


def build_frame(results: Results, names: list[str]) -> pd.DataFrame:
    """Return a row for every two variants that share a seed."""
    rows: list[Row] = []
    for first, second in combinations(names, 2):
        comparison = pair(by_seed(results[first]), by_seed(results[second]))
        if comparison.n:
            row: Row = {"first": first, "second": second, "n": comparison.n}
            rows.append(row | list_values(comparison))
    for row, p in zip(rows, adjust([row["p"] for row in rows]), strict=True):
        row |= {"adjusted_p": p, "different": p < LEVEL}
    return pd.DataFrame(rows)


def count_differences(frame: pd.DataFrame) -> str:
    """Return a sentence on how many pairs differ."""
    if frame.empty:
        return "No two rows share a seed, so there is nothing to compare."
    return (
        f"{frame['different'].sum()} of {len(frame)} pairs of rows differ (p < {LEVEL}, adjusted "
        "over all pairs by Holm's method)."
    )


def compare_pairs(
    results: Results, name: str, names: list[str], origin: Origin
) -> tuple[str, tuple[TableFile, ...]]:
    """Return a sentence on a table's pairs of rows, and the file with all of them."""
    frame = build_frame(results, names)
    words = count_differences(frame)
    if frame.empty:
        return words, ()
    file = TableFile(f"{name}_pairs", Table(frame, COLUMNS), NOTE, origin)
    return f"{words} Each pair: [{name}_pairs.md](tables/{name}_pairs.md).", (file,)


def format_interval(low: float, high: float, spec: str) -> str:
    """Return the interval in brackets after a blank; empty if unknown."""
    return "" if np.isnan(low) else f" ({low:{spec}} to {high:{spec}})"


def format_difference(row: Row) -> str:
    interval = format_interval(row["difference_low"], row["difference_high"], "+z.1f")
    return f"{row['difference']:+z.1f}{interval}"


def _format_p(key: str, row: Row) -> str:
    return "< 0.001" if row[key] < 0.001 else f"{row[key]:.3f}"


def _format_seeds(row: Row) -> str:
    needed = row["seeds_needed"]
    return f"more than {MOST_SEEDS}" if needed > MOST_SEEDS else f"{needed:.0f}"


COLUMNS = (
    Column("first"),
    Column("second"),
    Number("n"),
    Number("difference", format=format_difference),
    Number("p", format=partial(_format_p, "p")),
    Number("adjusted_p", "adjusted p", partial(_format_p, "adjusted_p")),
    Column("different", format=lambda row: "yes" if row["different"] else "no"),
    Number("seeds_needed", "seeds needed", _format_seeds),
)
