"""Verdicts and the words about them in closed form, each at its threshold."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline.reporting import verdicts
from pipeline.reporting.statistics import LEVEL, Interval, Pair, improvement, pair, seeds_needed
from pipeline.settings import params
from tests.conftest import ROOT

SETTINGS = params.load(ROOT / "params.yaml")


def found(difference: float, p: float = 0.01, n: int = 3) -> Pair:
    around = Interval(difference, difference - 1, difference + 1)
    return Pair(n, around, Interval(0.5, 0, 1), p, 3.0)


@pytest.mark.parametrize(
    ("published", "measured", "verdict"),
    [
        (0.2, found(0.1), verdicts.REPRODUCED),  # the sign alone is judged
        (-0.2, found(-0.1), verdicts.REPRODUCED),
        (0.2, found(-9.0), verdicts.NOT_REPRODUCED),
        (-0.2, found(9.0), verdicts.NOT_REPRODUCED),
        (0.2, found(0.1, p=LEVEL), verdicts.WITHIN_NOISE),
        (0.2, found(0.1, p=LEVEL - 1e-9), verdicts.REPRODUCED),
        (0.2, found(9.0, n=2), verdicts.REPRODUCED),
        (0.2, found(9.0, n=1), verdicts.NOT_MEASURED),
        (0.2, found(9.0, p=math.nan), verdicts.WITHIN_NOISE),
        (0.0, found(9.0), verdicts.NOT_COMPARABLE),
        (math.nan, found(9.0), verdicts.NOT_COMPARABLE),
        (None, found(9.0), verdicts.NOT_COMPARABLE),
        (0.2, None, verdicts.NOT_COMPARABLE),
    ],
)
def test_the_verdict(published: float | None, measured: Pair | None, verdict: str) -> None:
    assert verdicts.judge(published, measured) == verdict


def test_a_row_is_paired_seed_by_seed() -> None:
    """In the order of the seeds and not of the values, and the first minus the second."""
    first, second = {0: 3.0, 1: 1.0, 2: 7.0}, {2: 5.0, 0: 2.0, 1: 0.5}
    both = pair(first, second)
    assert (both.n, both.difference.value) == (3, pytest.approx(3.5 / 3))
    differences = np.array([1.0, 0.5, 2.0])
    t = differences.mean() / (differences.std(ddof=1) / 3**0.5)
    assert both.p == pytest.approx(2 * stats.t.sf(t, 2))
    assert both.improvement.value == pytest.approx(6 / 9)  # all pairs: 3, 1 and 7 win 2, 1 and 3
    assert pair(second, first).improvement.value == pytest.approx(3 / 9)
    assert pair(second, first).difference.value == pytest.approx(-3.5 / 3)


@pytest.mark.parametrize("shift", [0.6, 1.0, 2.0, 4.0, -1.5])
def test_seeds_needed_are_the_first_with_the_power(shift: float) -> None:
    def power(n: int) -> float:
        edge, far = stats.t.ppf(0.975, n - 1), stats.nct(n - 1, abs(shift) * n**0.5)
        return float(far.sf(edge) + np.nan_to_num(far.cdf(-edge)))

    needed = int(seeds_needed([shift - 1, shift, shift + 1]))
    assert power(needed) >= 0.8
    assert needed == 2 or power(needed - 1) < 0.8


def test_few_runs_improve_as_the_pairs_say_with_ties() -> None:
    assert improvement([1.0, 2.0], [1.0, 2.0]).value == 0.5
    assert improvement([1.0, 2.0, 2.0], [2.0, 0.0]).value == pytest.approx((1 + 1.5 + 1.5) / 6)


def frame(*words: str) -> pd.DataFrame:
    return pd.DataFrame({"verdict": words})


def test_the_headline_counts_each_verdict_and_what_chance_would_find() -> None:
    mixed = frame(
        *[verdicts.REPRODUCED] * 2,
        verdicts.WITHIN_NOISE,
        verdicts.NOT_MEASURED,
        verdicts.REFERENCE,
        verdicts.NOT_COMPARABLE,
    )
    assert verdicts.count_verdicts(mixed) == {
        "reproduced": 2,
        "within noise": 1,
        "not reproduced": 0,
        "not measured": 1,
    }
    told = verdicts.state_counts("beyond", mixed)
    assert "2 are reproduced, 1 is within noise, 0 are not reproduced, 1 is not measured" in told
    assert "4 differences" in told
    assert "*beyond*" in told
    assert f"{LEVEL * 3:.1f}" in told
    unmeasured = verdicts.state_counts("beyond", frame(verdicts.NOT_MEASURED))
    assert "1 is not measured." in unmeasured
    assert "chance" not in unmeasured
    assert "0 are not reproduced, " in unmeasured
    nothing = verdicts.state_counts("beyond", frame(verdicts.REFERENCE))
    assert "*beyond*" in nothing
    assert "differences" not in nothing
    all_judged = verdicts.state_counts("beyond", frame(*[verdicts.NOT_REPRODUCED] * 10))
    assert "not measured" not in all_judged
    assert "0.5" in all_judged


def test_every_table_has_its_reference() -> None:
    rows = {table: verdicts.find_reference(SETTINGS, table) for table in SETTINGS.tables}
    assert rows == {"ablation": "baseline", "sampling": "ann", "beyond": "apnb"}
    for table, row in rows.items():
        assert f"*{row}*" in verdicts.explain_rule(SETTINGS, table)
        assert f"p < {LEVEL}" in verdicts.explain_rule(SETTINGS, table)
        assert " 5 % of cases" in verdicts.explain_rule(SETTINGS, table)


def test_the_intervals_are_told_with_how_often_they_are_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verdicts, "coverage", lambda n: n / 10)
    few = "lowest to the highest"
    told = verdicts.explain_intervals([1, 5, 3, 5, 0])
    assert "30 % of cases with 3 seeds and 50 % of cases with 5 seeds" in told
    assert few in told
    assert few not in verdicts.explain_intervals([4, 5])
    assert "20 % of cases with 2 seeds." in verdicts.explain_intervals([2])


def test_the_order_is_told_with_its_interval() -> None:
    def told(*values: Any) -> str:
        return verdicts.describe_order(Interval(*values))

    assert "0.50 (95 % interval 0.25 to 0.75" in told(0.5, 0.25, 0.75)
    assert "0.50 (no interval)" in told(0.5, math.nan, math.nan)
    assert "Too few rows" in told(math.nan, math.nan, math.nan)
