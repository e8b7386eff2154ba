"""Whether the paper's claims are reproduced: the rule, in code and in words.

A row's claim is the sign of the paper's difference to the table's reference row. So it can be
judged even where the numbers themselves are not comparable.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from pipeline.reporting.measured import ANN, APNB, BASELINE, paper_pooling, plain
from pipeline.reporting.statistics import LEVEL, Interval, Pair, coverage
from pipeline.settings.schema import Params, TableName

REPRODUCED, WITHIN_NOISE, NOT_REPRODUCED = "reproduced", "within noise", "not reproduced"
NOT_COMPARABLE, NOT_MEASURED, REFERENCE = "not comparable", "not measured", "reference"
JUDGED = (REPRODUCED, WITHIN_NOISE, NOT_REPRODUCED)
_REFERENCES = {"ablation": BASELINE, "sampling": ANN, "beyond": APNB}


def find_reference(settings: Params, table: TableName) -> str | None:
    """Return the row with which the others are compared.

    It is the baseline of the ablation, the network with the paper's pooling of the sampling table,
    and APNB of the table beyond the paper's.
    """
    for name in settings.tables[table]:
        variant = settings.variants[name]
        parts = (variant.fusion, variant.context)
        if parts == _REFERENCES[table] and paper_pooling(variant) and plain(variant):
            return name
    return None


def judge(published: float | None, pair: Pair | None) -> str:
    """Return the verdict on a row.

    Args:
        published: The paper's difference to the reference row; None if it has none.
        pair: The row compared with the reference row; None if there is no reference.
    """
    if not published or pd.isna(published) or pair is None:
        return NOT_COMPARABLE
    if pair.n < 2:
        return NOT_MEASURED
    if not pair.is_different:
        return WITHIN_NOISE
    return REPRODUCED if pair.difference.value * published > 0 else NOT_REPRODUCED


def count_verdicts(frame: pd.DataFrame) -> dict[str, int]:
    """Count the claims of a table by verdict; a row that claims nothing is left out."""
    numbers = frame["verdict"].value_counts()
    return {word: int(numbers.get(word, 0)) for word in (*JUDGED, NOT_MEASURED)}


def state_counts(name: str, frame: pd.DataFrame) -> str:
    """Return the counts in a sentence."""
    counts = count_verdicts(frame)
    claims, judged = sum(counts.values()), sum(counts[word] for word in JUDGED)
    if not claims:
        return f"The paper claims nothing about the rows of the table *{name}*."
    text = f"Of the {claims} differences that the paper claims in the table *{name}*, " + ", ".join(
        f"{number} {'is' if number == 1 else 'are'} {word}"
        for word, number in counts.items()
        if word in JUDGED or number
    )
    if not judged:
        return f"{text}."
    return (
        f"{text}. If there were no difference, chance would still find about {LEVEL * judged:.1f}."
    )


def explain_rule(settings: Params, table: TableName) -> str:
    """Return the verdicts' rule, which stands below the table."""
    row = find_reference(settings, table)
    if row is None:
        return "No row of this table is the paper's reference, so there are no verdicts."
    return (
        f"**Verdicts.** The paper claims that a row is better, or worse, than *{row}*. The claim "
        "is the sign of the published difference; its size is not judged.\n\n"
        f"- *{REPRODUCED}*: a paired t-test over equal seeds finds a difference of that sign "
        f"(p < {LEVEL}).\n"
        f"- *{NOT_REPRODUCED}*: it finds a difference of the other sign.\n"
        f"- *{WITHIN_NOISE}*: it finds no difference. This does not show that there is none.\n"
        f"- *{NOT_COMPARABLE}*: the paper has no such difference for the row.\n"
        f"- *{NOT_MEASURED}*: there are fewer than two equal seeds.\n"
        f"- *{REFERENCE}*: the row *{row}* itself.\n\n"
        f"If there is no difference, the test still finds one in {100 * LEVEL:.0f} % of cases, "
        "half of them with the paper's sign."
    )


def explain_intervals(numbers: Iterable[int]) -> str:
    """Say what the intervals are, and how often they are right with these numbers of seeds."""
    seeds = sorted({int(n) for n in numbers if n > 1})
    if not seeds:
        return "There is no interval with fewer than two seeds."
    few = " With two or three they run from the lowest to the highest." if seeds[0] < 4 else ""
    right = " and ".join(f"{100 * coverage(n):.0f} % of cases with {n} seeds" for n in seeds)
    return (
        "**Intervals** are 95 % percentile bootstrap intervals over the seeds: of the mean and, in "
        f"brackets, of the mean difference on equal seeds.{few} They are too narrow. In a "
        f"simulation with normally distributed scores they contain the true mean in {right}. No "
        "verdict depends on them."
    )


def describe_order(tau: Interval) -> str:
    """Say how far the measured order is the paper's."""
    if np.isnan(tau.value):
        return "**Order.** Too few rows are measured to compare their order with the paper's."
    ends = (
        f"95 % interval {tau.low:.2f} to {tau.high:.2f} by resampling the seeds, too narrow as well"
    )
    return (
        "**Order.** Kendall's tau-b between the measured means and the paper's figures is "
        f"{tau.value:.2f} ({'no interval' if np.isnan(tau.low) else ends}). 1 is the paper's "
        "order, 0 no relation, -1 its reverse."
    )
