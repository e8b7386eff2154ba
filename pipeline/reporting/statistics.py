"""What a handful of seeds can say, by statsmodels and SciPy.

Every comparison is of one value a seed, e.g. the difference of two rows, with a threshold. The
intervals are Student's t. Several p-values are adjusted by Holm's method.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

LEVEL = 0.05  # an adjusted p-value below it decides
POWER = 0.8
MOST_SEEDS = 100  # more are reported as "more than 100"

Sides = Literal["two-sided", "either"]


class Interval(NamedTuple):
    """A figure with its 95 % interval; nan where the values are too few."""

    value: float
    low: float
    high: float


UNKNOWN = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Pair:
    """Two rows over the seeds that both have: the first minus the second.

    Attributes:
        n: The number of equal seeds.
        difference: The mean difference.
        p: The p-value of the paired t-test.
        seeds_needed: See `seeds_needed`.
    """

    n: int
    difference: Interval
    p: float
    seeds_needed: float


def mean(values: Sequence[float]) -> Interval:
    """Return the mean with its interval; the interval is unknown below two values."""
    if len(values) == 0:
        return UNKNOWN
    value = float(np.mean(values))
    if len(values) == 1:
        return UNKNOWN._replace(value=value)
    if np.ptp(values) == 0:
        return Interval(value, value, value)
    low, high = DescrStatsW(np.asarray(values, float)).tconfint_mean(LEVEL)
    return Interval(value, float(low), float(high))


def p_value(values: Sequence[float], threshold: float = 0, sides: Sides = "two-sided") -> float:
    """Return the p-value of the t-test of the values' mean against a threshold.

    Args:
        values: One value a seed.
        threshold: The mean under the null hypothesis.
        sides: "two-sided", or "either": the smaller of both one-sided p-values. The latter is for a
            threshold that parts two answers, of which only one is wrong.

    Returns:
        The p-value; nan below two values.
    """
    if len(values) < 2:
        return math.nan
    if np.ptp(values) == 0:
        return 1.0 if math.isclose(values[0], threshold, abs_tol=1e-12) else 0.0
    p = float(DescrStatsW(np.asarray(values, float)).ttest_mean(threshold)[1])
    return p / 2 if sides == "either" else p


def adjust(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted by Holm's method; nan stays nan and does not count."""
    known = [p for p in p_values if not math.isnan(p)]
    adjusted = iter(multipletests(known, LEVEL, method="holm")[1] if known else [])
    return [p if math.isnan(p) else float(next(adjusted)) for p in p_values]


def seeds_needed(
    values: Sequence[float],
    threshold: float = 0,
    sides: Sides = "two-sided",
    level: float = LEVEL,
) -> float:
    """Return the seeds with which `p_value` is below a level with POWER.

    The mean and the standard deviation stay as they are.

    Returns:
        The number; infinite above MOST_SEEDS, nan below two values.
    """
    if len(values) < 2:
        return math.nan
    shift, spread = abs(float(np.mean(values)) - threshold), float(np.std(values, ddof=1))
    if spread == 0:
        return 2.0 if shift else math.inf
    numbers = range(2, MOST_SEEDS + 1)
    place = bisect_left(numbers, POWER, key=lambda n: power(shift, spread, n, sides, level))
    return float(numbers[place]) if place < len(numbers) else math.inf


def power(
    shift: float, spread: float, n: int, sides: Sides = "two-sided", level: float = LEVEL
) -> float:
    """Return how often n values with this spread show that their mean is not the threshold.

    Args:
        shift: The mean less the threshold.
        spread: The standard deviation of the values.
        n: The number of values.
        sides: As of `p_value`.
        level: A p-value below it counts.
    """
    if n < 2 or math.isnan(spread):
        return math.nan
    if spread == 0:
        return float(shift != 0)
    alpha = 2 * level if sides == "either" else level
    found = float(TTestPower().power(abs(shift) / spread, n, alpha, alternative="two-sided"))
    return 1.0 if math.isnan(found) else found  # SciPy has nan in the far tail


def pair(first: dict[int, float], second: dict[int, float]) -> Pair:
    """Compare two rows, each a score by seed."""
    differences = [first[seed] - second[seed] for seed in first if seed in second]
    return Pair(
        len(differences), mean(differences), p_value(differences), seeds_needed(differences)
    )


def order(means: Sequence[float], published: Sequence[float]) -> float:
    """Return Kendall's tau-b of the rows' means and the published figures; nan below three rows."""
    return float(stats.kendalltau(means, published).statistic) if len(means) > 2 else math.nan
