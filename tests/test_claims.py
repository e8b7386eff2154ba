"""The claims: each verdict by hand, simulated experiments, and what claims.yaml may not say."""

import copy
import gc
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pipeline.engine import yaml_file
from pipeline.engine.errors import InputError
from pipeline.reporting.claims import costs, details, judging, ledger
from pipeline.reporting.claims.entries import Claim, Claims, read_claims
from pipeline.reporting.claims.judging import Answer, Judgement, Question, Verdict
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.statistics import LEVEL, Interval
from pipeline.settings import params
from tests import recorded
from tests.conftest import ROOT
from tests.reporting import CLAIMS, PUBLISHED, make_inputs

SETTINGS = params.load(ROOT / "params.yaml")
FILE = ROOT / "reports/claims.yaml"


def inputs(**scores: list[float]) -> Inputs:
    runs = {
        name: [recorded.run(name, seed, x / 100) for seed, x in enumerate(values)]
        for name, values in scores.items()
    }
    return make_inputs(SETTINGS, runs)


def judge(claim: dict[str, Any], **scores: list[float]) -> Judgement:
    """Judge one claim alone."""
    whole = Claim.model_validate({"words": "Words.", "place": "here"} | claim)
    return judging.judge_claims({"it": whole}, inputs(**scores))["it"]


GREATER = {"tests": [{"kind": "greater", "row": "nb", "than": "baseline"}]}
NO_WORSE = {"tests": [{"kind": "no_worse", "row": "apnb", "than": "nb", "margin": 1.0}]}
BEST = {"tests": [{"kind": "best", "row": "ann", "than": ["baseline", "apnb"]}]}
TREND = {"tests": [{"kind": "trend", "rows": {"average1236": 50, "ann": 100}}]}


@pytest.mark.parametrize(
    ("claim", "scores", "verdict"),
    [
        (GREATER, {"nb": [65, 66.1, 66.9], "baseline": [45, 46, 47]}, Verdict.SUPPORTED),
        (GREATER, {"baseline": [65, 66.1, 66.9], "nb": [45, 46, 47]}, Verdict.CONTRADICTED),
        (GREATER, {"nb": [49.2, 49.1, 48.4], "baseline": [45, 46, 47]}, Verdict.UNDECIDED),
        (GREATER, {"nb": [65, 66, 67], "baseline": []}, Verdict.NOT_MEASURED),
        (GREATER, {"nb": [65], "baseline": [45]}, Verdict.UNDECIDED),  # one seed tells nothing
        (NO_WORSE, {"apnb": [65.0, 66, 67.1], "nb": [65.1, 66.2, 67]}, Verdict.SUPPORTED),
        (NO_WORSE, {"apnb": [63.0, 64, 65.1], "nb": [65.1, 66.2, 67]}, Verdict.CONTRADICTED),
        (NO_WORSE, {"apnb": [64.0, 67, 64.1], "nb": [65.1, 66.2, 67]}, Verdict.UNDECIDED),
        (BEST, {"ann": [69, 70.1], "baseline": [49, 50], "apnb": [68, 69]}, Verdict.SUPPORTED),
        (BEST, {"ann": [69, 70.1], "baseline": [49, 50], "apnb": [69, 70]}, Verdict.UNDECIDED),
        (BEST, {"ann": [69, 70.1], "baseline": [49, 50]}, Verdict.NOT_MEASURED),
        (TREND, {"ann": [67.0, 68.1, 69], "average1236": [65, 66, 67]}, Verdict.SUPPORTED),
        (TREND, {"ann": [65.0, 66.1, 67], "average1236": [67, 68, 69]}, Verdict.CONTRADICTED),
    ],
)
def test_each_verdict(claim: dict[str, Any], scores: dict[str, Any], verdict: Verdict) -> None:
    assert judge(claim, **scores).verdict is verdict


def test_the_numbers_of_an_answer_by_hand() -> None:
    scores = {"apnb": [64.0, 67, 64.1], "nb": [65.1, 66.2, 67]}
    (answer,) = judge(NO_WORSE, **scores).answers
    values = [-1.1, 0.8, -2.9]
    assert answer.question.values == pytest.approx(values)
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert answer.estimate == pytest.approx((np.mean(values), low, high))
    one_sided = stats.ttest_1samp(values, -1, alternative="less").pvalue
    assert answer.question.p == pytest.approx(min(one_sided, 1 - one_sided))
    assert answer.question.published == pytest.approx(0.2)  # 78.6 - 78.4
    assert answer.question.mark == "†"  # which nobody checked against the paper
    shift = (0.2 + 1) / np.std(values, ddof=1)
    far = stats.nct(9, shift * 10**0.5)  # at ten seeds, one-sided at the level
    expected = far.sf(stats.t.ppf(1 - LEVEL, 9)) + far.cdf(stats.t.ppf(LEVEL, 9))
    assert answer.power(10) == pytest.approx(expected, abs=1e-6)


def test_a_slope_is_mean_iou_for_each_doubling() -> None:
    (answer,) = judge(TREND, ann=[67.0, 68.5], average1236=[65, 66]).answers
    assert answer.question.values == pytest.approx([2.0, 2.5])
    assert answer.question.published == pytest.approx(0.6)  # 79.9 - 79.3 over one doubling


def test_seeds_are_paired_and_only_equal_ones() -> None:
    runs = {
        "nb": [recorded.run("nb", seed, x) for seed, x in ((2, 0.9), (0, 0.5))],
        "baseline": [recorded.run("baseline", seed, x) for seed, x in ((0, 0.4), (1, 0), (2, 0.6))],
    }
    claim = Claim.model_validate({"words": "W", "place": "p"} | GREATER)
    (answer,) = judging.judge_claims({"it": claim}, make_inputs(SETTINGS, runs))["it"].answers
    assert answer.question.seeds == [2, 0]
    assert answer.question.values == pytest.approx([30, 10])


def test_the_seeds_of_a_claim_are_those_of_the_test_that_decides_it() -> None:
    """One test can contradict a claim, and all are needed to support it."""
    base, noise = np.arange(5.0), np.array([-1.0, 1, 0, -1, 1])

    def needed(*shifts: float) -> tuple[float, list[float]]:
        rows = {"ann": 60 + base, "baseline": 60 + base - shifts[0] + noise}
        rows["apnb"] = 60 + base - shifts[1] + noise[::-1]
        judgement = judge(BEST, **{name: list(values) for name, values in rows.items()})
        assert judgement.verdict is Verdict.UNDECIDED
        return judgement.seeds_needed, [a.seeds_needed for a in judgement.answers]

    claim, (quick, slow) = needed(0.9, 0.5)  # both point to the claim
    assert quick < slow == claim
    claim, (quick, slow) = needed(-0.9, -0.5)  # both against it
    assert claim == quick < slow
    claim, (for_it, against) = needed(0.9, -0.5)
    assert claim == against > for_it


def test_the_p_values_of_an_experiment_are_adjusted_together() -> None:
    scores = {"nb": [48.0, 49.1, 50.6], "baseline": [45, 46, 47]}  # p 0.01 alone
    alone = judge(GREATER, **scores)
    assert alone.verdict is Verdict.SUPPORTED
    (p,) = [answer.question.p for answer in alone.answers]
    whole = judging.judge_claims(CLAIMS, inputs(**scores, apnb=[50, 40, 60.0], common=[1, 90, 50]))
    (answer,) = whole["nonlocal_helps"].answers
    assert answer.question.p == pytest.approx(p)
    known = [a for j in whole.values() for a in j.answers if not math.isnan(a.question.p)]
    assert answer.adjusted_p == pytest.approx(min(1, p * len(known)))


@pytest.fixture
def no_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """`multipletests` collects garbage each time, which takes 0.2 s."""
    monkeypatch.setattr(gc, "collect", lambda *_: 0)


def simulate(truth: dict[str, float], n: int, rng: np.random.Generator) -> list[Answer]:
    """Answer the shipped claims on an experiment with these true means and a spread of 1."""
    scores = {row: list(rng.normal(mean, 1, n)) for row, mean in truth.items()}
    questions = []
    for name, claim in CLAIMS.items():
        for test in claim.tests:
            if test.kind in ("greater", "best", "no_worse"):
                others = test.than if test.kind == "best" else [test.than]
                margin = test.margin if test.kind == "no_worse" else 0.0
                sides = "either" if test.kind == "no_worse" else "two-sided"
                for other in others:
                    values = [a - b for a, b in zip(scores[test.row], scores[other], strict=True)]
                    words = f"{test.row} - {other}"
                    questions.append(
                        Question(name, words, (), range(n), values, -margin, sides, None)
                    )
    return judging.answer_all(questions)


ROWS = {r for c in CLAIMS.values() for t in c.tests for r in getattr(t, "rows", ())}


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("n", [3, 5, 10])
def test_under_the_null_at_most_one_experiment_in_twenty_has_a_wrong_verdict(n: int) -> None:
    """Without any true difference, each verdict on `greater` is wrong, and each no_worse right."""
    rng, trials = np.random.default_rng(n), 400
    wrong = 0
    for _ in range(trials):
        answers = simulate(dict.fromkeys(ROWS, 70.0), n, rng)
        wrong += any(
            a.verdict is Verdict.CONTRADICTED
            or (a.verdict is Verdict.SUPPORTED and a.question.threshold == 0)
            for a in answers
        )
    # 0.05 and three standard deviations of a share of 400
    assert wrong / trials <= LEVEL + 3 * (LEVEL * (1 - LEVEL) / trials) ** 0.5


@pytest.mark.usefixtures("no_collection")
def test_at_the_margin_non_inferiority_is_wrong_once_in_twenty() -> None:
    rng, trials = np.random.default_rng(0), 1500
    values = rng.normal(-1.0, 2.0, (trials, 10))
    supported = 0
    for own in values:
        question = Question("it", "", (), range(10), list(own), -1.0, "either", None)
        (answer,) = judging.answer_all([question])
        supported += answer.verdict is Verdict.SUPPORTED
    assert supported / trials == pytest.approx(LEVEL, abs=3 * (0.05 * 0.95 / trials) ** 0.5)


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("n", [5, 10])
def test_the_power_is_what_is_said(n: int) -> None:
    rng, trials, shift, spread = np.random.default_rng(1), 1000, 1.3, 1.2
    found = 0
    for _ in range(trials):
        values = list(rng.normal(shift, spread, n))
        question = Question("it", "", (), range(n), values, 0.0, "two-sided", shift)
        (answer,) = judging.answer_all([question])
        found += answer.verdict is Verdict.SUPPORTED
    near = Question(
        "it",
        "",
        (),
        range(2),
        list(shift + spread * np.array([-1, 1]) / 2**0.5),
        0.0,
        "two-sided",
        shift,
    )
    said = judging.answer_all([near])[0].power(n)
    assert found / trials == pytest.approx(said, abs=4 * (said * (1 - said) / trials) ** 0.5)


def test_a_cell_says_what_the_verdict_hangs_on() -> None:
    one = judge(GREATER, nb=[65, 66.1, 66.9], baseline=[45, 46, 47])
    low, high = stats.t.interval(0.95, 2, 20, stats.sem([20, 20.1, 19.9]))
    assert ledger.format_judgement(one) == f"supported: +20.0 ({low:+.1f} to {high:+.1f}), n 3"
    several = judge(BEST, ann=[69, 70.1, 68], baseline=[49, 50, 49], apnb=[69, 69, 69])
    words = ledger.format_judgement(several)
    assert words.startswith("undecided: ann - apnb ")
    assert words.endswith("more than 100 seeds needed")
    assert "one seed" in ledger.format_judgement(judge(GREATER, nb=[65], baseline=[45]))
    assert ledger.format_judgement(judge(GREATER, nb=[65])) == "not measured"


def test_the_ledger_and_the_details_have_every_claim() -> None:
    own = inputs(**{row: list(np.linspace(60, 61, 4)) for row in ROWS})
    judgements = judging.judge_claims(CLAIMS, own)
    table = ledger.build_ledger(CLAIMS, {"embedded": judgements})
    assert len(CLAIMS) == 10
    assert len(table.frame) == 9  # the tenth is on cost, by device
    shown = details.build_details(own, judgements).format_cells()
    assert set(shown["claim"]) == {c.words for c in CLAIMS.values() if not c.is_of_cost}
    assert sum(ledger.count_verdicts(judgements).values()) == 9


def measured(seconds: float, peak: int, *ends: float) -> dict[str, Any]:
    fastest, slowest = ends or (None, None)
    found = recorded.measurement(seconds, peak).model_dump()
    return found | {"fastest": fastest, "slowest": slowest}


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        ((4.6, 4.5, 4.7), Verdict.SUPPORTED),  # three quarters of 6
        ((4.4, 4.3, 4.49), Verdict.CONTRADICTED),
        ((4.6, 4.4, 4.7), Verdict.UNDECIDED),
        ((5.0, math.nan, math.nan), Verdict.SUPPORTED),
        ((math.nan,) * 3, Verdict.NOT_MEASURED),
    ],
)
def test_a_ratio_is_held_against_the_papers(ratio: Any, verdict: Verdict) -> None:
    assert costs.judge_ratio(Interval(*ratio), 6) is verdict


def test_ratios_by_device() -> None:
    cost: Claims = {"apnb_is_cheap": CLAIMS["apnb_is_cheap"]}
    cells = [
        ("nb", measured(6.0, 2800, 5.5, 6.6)),
        ("apnb", measured(1.0, 100, 0.9, 1.1)),
    ]
    file = recorded.blocks(
        [
            {"block": block, "form": "plain", "call": "forward", "size": [256, 128], "measured": m}
            for block, m in cells
        ]
    )
    time, memory = costs.judge_costs(cost, [file], PUBLISHED)
    assert time.ratio == pytest.approx((6, 5.5 / 1.1, 6.6 / 0.9))
    assert memory.ratio == pytest.approx((28, 28, 28))
    assert (time.verdict, memory.verdict) == (Verdict.SUPPORTED, Verdict.SUPPORTED)
    assert (time.figure, memory.figure) == (6, 28)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        (
            "nonlocal_helps.tests.0.row",
            "nbb",
            "tests.0 must name rows of ",
        ),
        ("sampling_is_free.tests.0.margin", -1.0, "margin must be greater than or equ"),
        ("nonlocal_helps.tests.0.kind", "more", "tests.0.kind must be one of "),
        ("nonlocal_helps.sentence", "a", "nonlocal_helps.sentence is not a known key"),
        ("nonlocal_helps.tests", [], "nonlocal_helps.tests must have at least 1 item"),
        ("nonlocal_helps.tests.0.than", "nb", "nonlocal_helps.tests.0 must name each row once"),
        ("apnb_is_cheap.tests.0.figure", "x", "figure must be one of apnb_times_faster"),
        ("more_anchors_help.tests.0.rows", {"ann": 0.0, "nb": 1.0}, "rows.ann must be"),
    ],
)
def test_what_claims_may_not_say(
    key: str, value: Any, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = copy.deepcopy(yaml_file.read_yaml(FILE))
    *path, last = key.split(".")
    place = claims
    for step in path:
        place = place[int(step) if step.isdecimal() else step]
    place[last] = value
    file = tmp_path / "claims.yaml"
    yaml_file.write_yaml(file, claims)
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError) as caught:
        read_claims(SETTINGS, file)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)
