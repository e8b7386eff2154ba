"""Intervals, tests and orders against closed forms, textbook values and SciPy's own functions."""

import math

import numpy as np
import pytest
from scipy import stats

from pipeline.reporting import statistics as st
from pipeline.reporting.columns import Table
from pipeline.reporting.results import Results
from pipeline.reporting.tables import pairs
from tests import recorded


def row(*scores: float) -> dict[int, float]:
    return dict(enumerate(scores))


def test_intervals_of_the_mean() -> None:
    assert st.mean([50, 57, 52]) == (53, 50, 57)  # of three values the ends are the extremes
    assert st.mean([50, 57, 52]) == st.mean([50, 57, 52])
    value, low, high = st.mean([50])
    assert (value, math.isnan(low), math.isnan(high)) == (50, True, True)
    values = np.random.default_rng(1).normal(size=200)
    expected = stats.norm.interval(0.95, values.mean(), values.std() / 200**0.5)
    assert st.mean(values)[1:] == pytest.approx(expected, abs=0.01)


def test_coverage_is_the_closed_form_where_the_ends_are_the_extremes() -> None:
    for n in (2, 3):
        assert st.coverage(n) == pytest.approx(1 - 2 ** (1 - n), abs=0.025)
    assert 0.8 < st.coverage(5) < 0.88


def test_one_rule_finds_a_difference() -> None:
    a, b = row(50, 52, 57), row(40, 42.5, 46.8)
    found = st.pair(a, b)
    assert found.p == pytest.approx(stats.ttest_rel([*a.values()], [*b.values()]).pvalue)
    assert found.is_different
    assert not st.pair(a, row(49, 54, 56)).is_different
    assert st.pair(a, a).p == 1
    assert st.pair(a, row(49, 51, 56)).p == 0  # every seed by the same
    # The bootstrap interval is of one sign, and the test says that this is no difference.
    noisy = st.pair(row(0, 0, 0), row(4.2, 3.1, 1.4))
    assert noisy.difference.high < 0 < noisy.p - st.LEVEL
    one = st.pair(row(50), row(10))
    assert (one.n, one.is_different, math.isnan(one.p)) == (
        1,
        False,
        True,
    )  # one seed tells nothing


def test_equal_seeds_only() -> None:
    found = st.pair({0: 50, 1: 52, 2: 57}, {2: 55, 1: 52, 7: 0})
    assert (found.n, found.difference.value) == (2, 1)
    assert st.pair({0: 1.0}, {1: 1.0}).n == 0


def test_the_probability_of_improvement_counts_pairs_of_runs() -> None:
    found = st.improvement([1, 3, 5], [2, 3, 0])
    assert found.value == pytest.approx((1 + 2.5 + 3) / 9)
    assert 0 <= found.low < found.value < found.high <= 1
    assert st.improvement([5, 6], [1, 2]) == (1, 1, 1)
    assert math.isnan(st.improvement([1], [2]).value)


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
    published = [1, 2, 3, 3]
    scores = np.array([[10, 11, 12], [20, 21, 25], [31, 30, 35], [40, 41, 42]], dtype=float)
    expected = 5 / 30**0.5  # five pairs in order, a tie in the paper's
    assert st.order(scores, published) == pytest.approx((expected,) * 3)
    assert st.order(scores[::-1], [1, 2, 3, 4]) == pytest.approx((-1, -1, -1))
    noisy = scores + np.array([[0, 0, 30], [0, 0, 0], [0, 0, 0], [0, 0, 0]])
    value, low, high = st.order(noisy, [1, 2, 3, 4])
    assert -1 < low < value <= high <= 1
    assert math.isnan(st.order(scores[:2], [1, 2]).value)
    assert math.isnan(st.order(scores[:, :1], published).low)


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
    shown = Table(frame, pairs.COLUMNS).format_cells()
    assert shown.loc[0, "difference"] == "+9.9 (+9.5 to +10.2)"
    assert shown["seeds needed"].tolist() == ["2", "more than 100", "2"]
    assert pairs.count_differences(pairs.build_frame(results, ["d", "a"])).startswith("No two rows")
