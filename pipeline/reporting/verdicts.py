"""Whether the paper's claims are reproduced: the rule, in code and in words.

A row's claim is the sign of the paper's difference to the table's reference row, so that it can be
judged where the numbers themselves are not comparable.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from pipeline.common.params import Params, TableName
from pipeline.reporting.measured import ANN, APNB, BASELINE, paper_pooling, plain
from pipeline.reporting.statistics import LEVEL, Interval, Pair, coverage

REPRODUCED, WITHIN_NOISE, NOT_REPRODUCED = "reproduced", "within noise", "not reproduced"
NOT_COMPARABLE, NOT_MEASURED, REFERENCE = "not comparable", "not measured", "reference"
JUDGED = (REPRODUCED, WITHIN_NOISE, NOT_REPRODUCED)
_REFERENCES = {"ablation": BASELINE, "sampling": ANN, "beyond": APNB}


def reference(settings: Params, table: TableName) -> str | None:
    """The row that the others are held against: the ablation's baseline; of the sampling table the
    network with the pooling of the paper's full one; of the table beyond the paper's APNB."""
    for name in settings.tables[table]:
        variant = settings.variants[name]
        parts = (variant.fusion, variant.context)
        if parts == _REFERENCES[table] and paper_pooling(variant) and plain(variant):
            return name
    return None


def verdict(published: float | None, pair: Pair | None) -> str:
    """Of a row whose published difference to the reference is given; pair None: no reference."""
    if not published or pd.isna(published) or pair is None:
        return NOT_COMPARABLE
    if pair.n < 2:
        return NOT_MEASURED
    if not pair.found:
        return WITHIN_NOISE
    return REPRODUCED if pair.difference.value * published > 0 else NOT_REPRODUCED


def counts(frame: pd.DataFrame) -> dict[str, int]:
    """How many claims of a table have each verdict; a row that claims nothing is left out."""
    found = frame["verdict"].value_counts()
    return {word: int(found.get(word, 0)) for word in (*JUDGED, NOT_MEASURED)}


def headline(name: str, frame: pd.DataFrame) -> str:
    """The counts in a sentence."""
    found = counts(frame)
    claims, judged = sum(found.values()), sum(found[word] for word in JUDGED)
    if not claims:
        return f"The paper claims nothing of the rows of the table *{name}*."
    text = f"Of the {claims} differences that the paper claims in the table *{name}*, " + ", ".join(
        f"{number} {'is' if number == 1 else 'are'} {word}"
        for word, number in found.items()
        if word in JUDGED or number
    )
    if not judged:
        return f"{text}."
    return f"{text}; if there were none, chance would still find about {LEVEL * judged:.1f}."


def rule(settings: Params, table: TableName) -> str:
    """What stands under the table: the verdicts' rule."""
    row = reference(settings, table)
    if row is None:
        return "No row of this table is the paper's reference, so there are no verdicts."
    return (
        f"**Verdicts.** The paper's claim of a row is that it is better, or worse, than *{row}*: "
        f"the sign of its published difference. *{REPRODUCED}*: a paired t-test over equal seeds "
        f"finds a difference of that sign (p < {LEVEL}); *{NOT_REPRODUCED}*: it finds one of the "
        f"other sign; *{WITHIN_NOISE}*: it finds none, which shows neither a difference nor that "
        f"there is none; *{NOT_COMPARABLE}*: the paper has no such difference for the row; "
        f"*{NOT_MEASURED}*: fewer than two equal seeds; *{REFERENCE}*: the row *{row}* itself. "
        "The size of a difference is not judged. Where there is none, the test still finds one in "
        f"{100 * LEVEL:.0f} % of cases, half of them of the paper's sign."
    )


def interval_note(numbers: Iterable[int]) -> str:
    """What the intervals are, and how often they are right with these numbers of seeds."""
    seeds = sorted({int(n) for n in numbers if n > 1})
    if not seeds:
        return "There is no interval with fewer than two seeds."
    few = " With two or three they run from the lowest to the highest." if seeds[0] < 4 else ""
    right = " and ".join(f"{100 * coverage(n):.0f} % of cases with {n} seeds" for n in seeds)
    return (
        "**Intervals**, of the mean and, in brackets, of the mean difference on equal seeds, are "
        f"95 % percentile bootstrap intervals over the seeds.{few} They are too narrow: in a "
        f"simulation with normally distributed scores they hold the true mean in {right}. No "
        "verdict is by them."
    )


def order_note(found: Interval) -> str:
    """How far the measured order is the paper's, in words."""
    if np.isnan(found.value):
        return "**Order.** Too few rows are measured to compare their order with the paper's."
    ends = f"95 % interval {found.low:.2f} to {found.high:.2f} by resampling the seeds, also narrow"
    return (
        "**Order.** Kendall's tau-b between the measured means and the paper's figures is "
        f"{found.value:.2f} ({'no interval' if np.isnan(found.low) else ends}); 1 is the paper's "
        "order, 0 no relation, -1 its reverse."
    )
