"""What a handful of seeds can say, by SciPy; the same values give the same numbers.

One rule finds a difference everywhere: a paired t-test over equal seeds. The bootstrap intervals
beside it decide nothing, because they are too narrow with few seeds; `coverage` says how much.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.05  # p below it is a difference
POWER = 0.8
MOST_SEEDS = 100  # the search for the seeds needed ends here
_RESAMPLES, _SEED = 9999, 0

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """A figure with its 95 % interval; nan where the values are too few."""

    value: float
    low: float
    high: float


UNKNOWN = Interval(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class Pair:
    """Two rows over the seeds that both have: the first minus the second.

    Attributes:
        n: The number of equal seeds.
        difference: The mean difference.
        improvement: P(first > second).
        p: The p-value of the paired t-test.
        seeds_needed: The seeds with which that test finds the difference with POWER, infinite above
            MOST_SEEDS.
    """

    n: int
    difference: Interval
    improvement: Interval
    p: float
    seeds_needed: float

    @property
    def is_different(self) -> bool:
        """Whether the test finds a difference."""
        return self.p < LEVEL


def _bootstrap(samples: Sequence[Any], statistic: Any, **options: Any) -> tuple[Any, Any]:
    """Return the ends of the percentile interval, of one value or of an array of them."""
    interval = stats.bootstrap(
        samples,
        statistic,
        method="percentile",
        rng=np.random.default_rng(_SEED),
        **({"n_resamples": _RESAMPLES} | options),
    ).confidence_interval
    return interval.low, interval.high


def mean(values: Sequence[float]) -> Interval:
    """Return the mean with its percentile bootstrap interval."""
    if len(values) == 0:
        return UNKNOWN
    if len(values) == 1:
        return UNKNOWN._replace(value=float(values[0]))
    low, high = _bootstrap((values,), np.mean)
    return Interval(float(np.mean(values)), float(low), float(high))


@lru_cache
def coverage(n: int) -> float:
    """Return how often `mean`'s interval of n normal values contains their true mean.

    The share is from a simulation.
    """
    values = np.random.default_rng(_SEED).normal(size=(2000, n))
    low, high = _bootstrap((values,), np.mean, axis=-1, n_resamples=999, batch=100)
    return float(np.mean((low <= 0) & (high >= 0)))


def p_value(differences: Sequence[float]) -> float:
    """Return p of the t-test that the differences' mean is zero; nan below two differences."""
    if len(differences) < 2:
        return float("nan")
    if np.ptp(differences) == 0:
        return 0.0 if differences[0] else 1.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def seeds_needed(differences: Sequence[float]) -> float:
    """Return the fewest seeds with which the paired t-test finds this mean difference with POWER.

    The standard deviation stays as it is. Infinite above MOST_SEEDS, nan below two differences.
    """
    if len(differences) < 2:
        return float("nan")
    shift, spread = abs(np.mean(differences)), np.std(differences, ddof=1)
    if spread == 0:
        return 2.0 if shift else float("inf")
    n = np.arange(2, MOST_SEEDS + 1)
    critical, noncentrality = stats.t.ppf(1 - LEVEL / 2, n - 1), shift / spread * np.sqrt(n)
    above = stats.nct.sf(critical, n - 1, noncentrality)
    below = stats.nct.cdf(-critical, n - 1, noncentrality)
    enough = n[above + np.nan_to_num(below) >= POWER]  # SciPy has nan in the far tail
    return float(enough[0]) if len(enough) else float("inf")


def _improvement(x: Array, y: Array, axis: int = -1) -> Any:
    """Return P(X > Y) + P(X = Y) / 2 over all pairs: Mann and Whitney's U as a share."""
    u = stats.mannwhitneyu(x, y, axis=axis, method="asymptotic").statistic
    return u / (np.shape(x)[axis] * np.shape(y)[axis])


def improvement(x: Sequence[float], y: Sequence[float]) -> Interval:
    """Return the probability of improvement of Agarwal et al. (2021).

    Its interval resamples the runs of each row.
    """
    if min(len(x), len(y)) < 2:
        return UNKNOWN
    low, high = _bootstrap((x, y), _improvement)
    return Interval(float(_improvement(np.asarray(x), np.asarray(y))), float(low), float(high))


def pair(first: dict[int, float], second: dict[int, float]) -> Pair:
    """Compare two rows, each a score by seed."""
    seeds = [seed for seed in first if seed in second]
    x, y = ([row[seed] for seed in seeds] for row in (first, second))
    differences = [a - b for a, b in zip(x, y, strict=True)]
    return Pair(
        len(seeds),
        mean(differences),
        improvement(x, y),
        p_value(differences),
        seeds_needed(differences),
    )


def order(scores: Array, published: Sequence[float]) -> Interval:
    """Return Kendall's tau-b of the rows' means and the published figures.

    Its interval resamples the seeds. It is unknown below three rows, and has no interval below two
    seeds.

    Args:
        scores: Shape (rows, seeds).
        published: The rows' published figures.
    """
    if scores.shape[0] < 3 or not scores.shape[1]:
        return UNKNOWN

    def tau(*rows: Array, axis: int = -1) -> Any:
        means = np.stack([row.mean(axis=axis) for row in rows], axis=-1)
        figures = np.broadcast_to(published, means.shape)
        return stats.kendalltau(means, figures, axis=-1).statistic

    value = float(tau(*scores))
    if scores.shape[1] < 2:
        return UNKNOWN._replace(value=value)
    low, high = _bootstrap(tuple(scores), tau, paired=True, vectorized=True, n_resamples=999)
    return Interval(value, float(low), float(high))
