"""Every two rows of a table against each other, over equal seeds."""

from itertools import combinations

import numpy as np
import pandas as pd

from pipeline.reporting.results import Results, by_seed
from pipeline.reporting.statistics import LEVEL, MOST_SEEDS, POWER, Pair, pair

NOTE = (
    "The first row minus the second, mIoU in percent, over the seeds that both have. *P(first > "
    "second)* is the probability of improvement of Agarwal et al. (2021): over all pairs of a run "
    "of the first and a run of the second, the share that the first wins, a tie counting half. "
    "Brackets: 95 % percentile bootstrap intervals, too narrow with few seeds. *p*: paired t-test; "
    f"told apart: p < {LEVEL}. *seeds needed*: the fewest with which that test finds, "
    f"{100 * POWER:.0f} % of the time, the measured difference at the measured spread; from a few "
    "seeds that is itself uncertain."
)


def columns(found: Pair) -> dict[str, float]:
    """A pair's figures by the names that the csv files have."""
    difference, improvement = found.difference, found.improvement
    return {
        "difference": difference.value,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "improvement": improvement.value,
        "improvement_low": improvement.low,
        "improvement_high": improvement.high,
        "p": found.p,
        "seeds_needed": found.seeds_needed,
    }


def table(results: Results, rows: list[str]) -> pd.DataFrame:
    """A row for every two rows that share a seed."""
    made = []
    for first, second in combinations(rows, 2):
        found = pair(by_seed(results[first]), by_seed(results[second]))
        if found.n:
            row = {"first": first, "second": second, "n": found.n} | columns(found)
            made.append(row | {"told_apart": found.found})
    return pd.DataFrame(made)


def separation(frame: pd.DataFrame) -> str:
    """How many pairs the seeds separate, in words."""
    if frame.empty:
        return "No two rows share a seed: there is nothing to compare."
    return (
        f"Of {len(frame)} pairs of rows, {frame['told_apart'].sum()} are told apart (p < {LEVEL}); "
        f"chance alone would tell about {LEVEL * len(frame):.0f} apart."
    )


def interval(low: float, high: float, form: str) -> str:
    """In brackets; empty if unknown."""
    return "" if np.isnan(low) else f" ({low:{form}} to {high:{form}})"


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as a person reads it."""
    return pd.DataFrame([_shown(row) for row in frame.to_dict("records")])  # type: ignore[arg-type]


def _shown(row: dict[str, float]) -> dict[str, str]:
    difference = interval(row["difference_low"], row["difference_high"], "+z.1f")
    improvement = interval(row["improvement_low"], row["improvement_high"], ".2f")
    return {
        "first": str(row["first"]),
        "second": str(row["second"]),
        "n": str(row["n"]),
        "difference": f"{row['difference']:+z.1f}{difference}",
        "P(first > second)": _known(row["improvement"], f"{row['improvement']:.2f}{improvement}"),
        "p": _known(row["p"], "< 0.001" if row["p"] < 0.001 else f"{row['p']:.3f}"),
        "told apart": "yes" if row["told_apart"] else "no",
        "seeds needed": _known(row["seeds_needed"], _seeds(row["seeds_needed"])),
    }


def _known(value: float, text: str) -> str:
    return "" if np.isnan(value) else text


def _seeds(needed: float) -> str:
    return f"more than {MOST_SEEDS}" if needed > MOST_SEEDS else f"{needed:.0f}"
