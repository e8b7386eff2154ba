"""Intervals, tests and orders against closed forms, textbook values and SciPy's own functions."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from pipeline.reporting import statistics as st
from pipeline.reporting.columns import Table
from pipeline.reporting.results import Results
from pipeline.reporting.tables import pairs
from tests import recorded


def row(*scores: float) -> dict[int, float]:
    return dict(enumerate(scores))


def test_intervals_are_students() -> None:
    values = [50.0, 57.0, 52.0]
    expected = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert st.mean(values) == pytest.approx((53, *expected))
    value, low, high = st.mean([50])
    assert (value, math.isnan(low), math.isnan(high)) == (50, True, True)
    assert st.mean([7, 7, 7]) == (7, 7, 7)
    assert math.isnan(st.mean([]).value)


def test_p_values_are_students() -> None:
    values = [1.0, 2.5, 0.3, 1.1]
    two_sided = stats.ttest_1samp(values, 0.5)
    assert st.p_value(values, 0.5) == pytest.approx(two_sided.pvalue)
    greater = stats.ttest_1samp(values, 0.5, alternative="greater").pvalue
    assert st.p_value(values, 0.5, "either") == pytest.approx(min(greater, 1 - greater))
    assert st.p_value([1.0, 1.0], 1.0) == 1
    assert st.p_value([1.0, 1.0], 0.0) == 0
    assert math.isnan(st.p_value([1.0]))


def test_non_inferiority_is_half_of_statsmodels_equivalence() -> None:
    first, second = np.array([70.0, 71.0, 69.5, 70.4]), np.array([70.2, 70.9, 70.0, 70.1])
    _, lower, upper = ttost_paired(first, second, -1, 1)
    assert lower[1] < upper[1] or lower[1] >= upper[1]
    assert st.p_value(list(first - second), -1, "either") == pytest.approx(lower[1])


def test_holm_by_hand() -> None:
    assert st.adjust([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    some = st.adjust([0.01, math.nan, 0.04])
    assert some[0] == pytest.approx(0.02)  # nan is no test
    assert math.isnan(some[1])
    assert some[2] == pytest.approx(0.04)
    assert st.adjust([]) == []


@pytest.mark.parametrize("n", [2, 5, 10])
@pytest.mark.parametrize("shift", [0.3, 1.0, 2.0])
def test_power_is_the_noncentral_t(n: int, shift: float) -> None:
    far = stats.nct(n - 1, shift * n**0.5)
    edge = stats.t.ppf(0.975, n - 1)
    expected = far.sf(edge) + np.nan_to_num(far.cdf(-edge))
    assert st.power(shift, 1.0, n) == pytest.approx(expected, abs=1e-6)
    assert st.power(-shift, 1.0, n) == pytest.approx(expected, abs=1e-6)
    assert st.power(2 * shift, 2.0, n) == pytest.approx(expected, abs=1e-6)


def test_power_at_the_ends() -> None:
    assert st.power(50, 0.1, 10) == 1
    assert (st.power(1, 0, 5), st.power(0, 0, 5)) == (1, 0)
    assert math.isnan(st.power(1, 1, 1))
    assert st.power(1, 1, 5, "either", 0.025) == pytest.approx(st.power(1, 1, 5))


def test_equal_seeds_only() -> None:
    found = st.pair({0: 50, 1: 52, 2: 57}, {2: 55, 1: 52, 7: 0})
    assert (found.n, found.difference.value) == (2, 1)
    assert st.pair({0: 1.0}, {1: 1.0}).n == 0


@pytest.mark.parametrize(
    ("shift", "seeds"),
    [(0.5, 34), (0.8, 15), (1.0, 10), (-1.0, 10), (0.2, math.inf), (50, 2), (-50, 2)],
)
def test_seeds_needed_are_the_textbooks(shift: float, seeds: float) -> None:
    assert st.seeds_needed([shift - 1, shift, shift + 1]) == seeds  # standard deviation 1


def test_seeds_needed_without_spread() -> None:
    assert st.seeds_needed([1, 1]) == 2
    assert st.seeds_needed([0, 0]) == math.inf
    assert math.isnan(st.seeds_needed([1]))


def test_order() -> None:
    assert st.order([10, 20, 31, 40], [1, 2, 3, 3]) == pytest.approx(5 / 30**0.5)  # a tie
    assert st.order([4, 3, 2], [1, 2, 3]) == pytest.approx(-1)
    assert math.isnan(st.order([1, 2], [1, 2]))


def test_pairs_of_rows() -> None:
    scores = {"a": (50, 52, 57), "b": (40, 42.5, 46.8), "c": (50.2, 51.9, 57), "d": ()}
    results: Results = {
        name: [recorded.run(name, seed, x / 100) for seed, x in enumerate(values)]
        for name, values in scores.items()
    }
    frame = pairs.build_frame(results, list(scores))
    assert frame[["first", "second"]].to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert frame["different"].tolist() == [True, False, True]
    assert "2 of 3 pairs of rows differ" in pairs.count_differences(frame)
    assert frame["adjusted_p"].tolist() == pytest.approx(st.adjust(frame["p"].tolist()))
    shown = Table(frame, pairs.COLUMNS).format_cells()
    low, high = stats.t.interval(0.95, 2, np.mean([10, 9.5, 10.2]), stats.sem([10, 9.5, 10.2]))
    assert shown.loc[0, "difference"] == f"+9.9 ({low:+.1f} to {high:+.1f})"
    assert shown["seeds needed"].tolist() == ["2", "more than 100", "2"]
    assert pairs.count_differences(pairs.build_frame(results, ["d", "a"])).startswith("No two rows")
