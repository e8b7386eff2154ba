"""Test the claims on one experiment.

Every test is reduced to one value a seed and a threshold:

    greater    the difference of two rows, against 0
    best       the same, once for each of the others
    no_worse   the difference of two rows, against minus the margin
    trend      the slope of mIoU over the logarithm of a quantity, against 0

The p-values of all tests of an experiment are adjusted together, by Holm's method.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pipeline.reporting import statistics
from pipeline.reporting.claims.entries import Best, Claim, Claims, NoWorse, Ratio, Test, Trend
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.published import find_figure, mark_status
from pipeline.reporting.results import by_seed
from pipeline.reporting.statistics import LEVEL, Interval, Sides

Values = dict[int, float]  # by seed


class Verdict(StrEnum):
    """What the results say of a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    UNDECIDED = "undecided"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Question:
    """A test, reduced to one value a seed.

    Attributes:
        claim: The claim's name.
        words: What the values are.
        rows: The rows that it is about.
        seeds: The seeds that all rows have.
        values: One value for each seed.
        threshold: The values' mean is compared with it.
        sides: As of `statistics.p_value`.
        published: The paper's value; None if it has none.
        mark: The mark of figures that were not checked against their source.
    """

    claim: str
    words: str
    rows: tuple[str, ...]
    seeds: Sequence[int]
    values: Sequence[float]
    threshold: float
    sides: Sides
    published: float | None
    mark: str = ""

    @property
    def p(self) -> float:
        return statistics.p_value(self.values, self.threshold, self.sides)


@dataclass(frozen=True)
class Answer:
    """A question's answer.

    Attributes:
        question: The question.
        estimate: The mean with its interval.
        adjusted_p: The p-value, adjusted over all questions of the experiment.
        verdict: What it says.
        level: A p-value must be below it to decide, where nothing else is decided.
        open_level: The same, where all that is decided here is decided.
    """

    question: Question
    estimate: Interval
    adjusted_p: float
    verdict: Verdict
    level: float
    open_level: float

    @property
    def seeds_needed(self) -> float:
        """The seeds that would decide an undecided question."""
        own = self.question
        return statistics.seeds_needed(own.values, own.threshold, own.sides, self.open_level)

    def power(self, n: int) -> float:
        """Return how often n seeds show the paper's value with the measured spread."""
        question = self.question
        if question.published is None or len(question.values) < 2:
            return math.nan
        shift, spread = question.published - question.threshold, np.std(question.values, ddof=1)
        return statistics.power(shift, float(spread), n, question.sides, self.level)


@dataclass(frozen=True)
class Judgement:
    """A claim on one experiment: a verdict, and the answers behind it."""

    claim: Claim
    verdict: Verdict
    answers: list[Answer]

    @property
    def seeds_needed(self) -> float:
        """The seeds that would decide the claim; nan if a single run cannot tell.

        One test that contradicts a claim decides it. Otherwise all its tests must support it.
        """
        undecided = [a for a in self.answers if a.verdict is Verdict.UNDECIDED]
        against = [a for a in undecided if a.estimate.value < a.question.threshold]
        needed = [a.seeds_needed for a in against or undecided]
        if any(map(math.isnan, needed)):
            return math.nan
        return (min if against else max)(needed, default=math.nan)


def judge_claims(claims: Claims, inputs: Inputs) -> dict[str, Judgement]:
    """Judge all claims that speak of rows, on one experiment."""
    of_rows = {name: claim for name, claim in claims.items() if not claim.is_of_cost}
    questions = [q for name, claim in of_rows.items() for q in _ask(name, claim, inputs)]
    answers = answer_all(questions)
    own = {name: [a for a in answers if a.question.claim == name] for name in of_rows}
    return {
        n: Judgement(c, combine([a.verdict for a in own[n]]), own[n]) for n, c in of_rows.items()
    }


def answer_all(questions: Sequence[Question]) -> list[Answer]:
    """Answer the questions of one experiment together."""
    adjusted = statistics.adjust([question.p for question in questions])
    decided = sum(p < LEVEL for p in adjusted)
    asked = sum(not math.isnan(p) for p in adjusted)
    open_level = LEVEL / max(1, asked - decided)  # Holm's level of the first that is not decided
    return [
        _answer(question, p, LEVEL / max(1, asked), open_level)
        for question, p in zip(questions, adjusted, strict=True)
    ]


def _answer(question: Question, adjusted_p: float, level: float, open_level: float) -> Answer:
    estimate = statistics.mean(question.values)
    if not question.values:
        verdict = Verdict.NOT_MEASURED
    elif adjusted_p < LEVEL:
        above = estimate.value > question.threshold
        verdict = Verdict.SUPPORTED if above else Verdict.CONTRADICTED
    else:
        verdict = Verdict.UNDECIDED
    return Answer(question, estimate, adjusted_p, verdict, level, open_level)


def combine(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict on a claim from those of its tests."""
    for verdict in (Verdict.CONTRADICTED, Verdict.NOT_MEASURED, Verdict.UNDECIDED):
        if verdict in verdicts:
            return verdict
    return Verdict.SUPPORTED


def _ask(name: str, claim: Claim, inputs: Inputs) -> Iterator[Question]:
    """Yield the questions of a claim."""
    for test in claim.tests:
        if isinstance(test, Trend):
            yield _ask_trend(name, test, inputs)
        elif not isinstance(test, Ratio):
            yield from _ask_pairs(name, test, inputs)


def _ask_pairs(name: str, test: Test, inputs: Inputs) -> Iterator[Question]:
    assert not isinstance(test, Trend | Ratio)
    margin = test.margin if isinstance(test, NoWorse) else 0.0
    for other in test.than if isinstance(test, Best) else [test.than]:
        first, second = _read_scores(inputs, test.row), _read_scores(inputs, other)
        figures, mark = _find_figures(inputs, (test.row, other))
        published = round(figures[0] - figures[1], 2) if figures else None
        is_no_worse = isinstance(test, NoWorse)
        seeds = [seed for seed in first if seed in second]
        yield Question(
            claim=name,
            words=f"{test.row} - {other}",
            rows=(test.row, other),
            seeds=seeds,
            values=[first[seed] - second[seed] for seed in seeds],
            threshold=-margin,
            sides="either" if is_no_worse else "two-sided",
            published=published,
            mark=mark,
        )


def _ask_trend(name: str, test: Trend, inputs: Inputs) -> Question:
    """Return the question whether mIoU rises when the quantity doubles."""
    rows = tuple(test.rows)
    logs = np.log2(list(test.rows.values()))
    scores = [_read_scores(inputs, row) for row in rows]
    seeds = [seed for seed in scores[0] if all(seed in own for own in scores)]
    figures, mark = _find_figures(inputs, rows)
    return Question(
        claim=name,
        words=f"slope over {', '.join(rows)}, mIoU a doubling",
        rows=rows,
        seeds=seeds,
        values=[_fit_slope(logs, [own[seed] for own in scores]) for seed in seeds],
        threshold=0.0,
        sides="two-sided",
        published=round(_fit_slope(logs, figures), 2) if figures else None,
        mark=mark,
    )


def _find_figures(inputs: Inputs, rows: Sequence[str]) -> tuple[list[float], str]:
    """Return the paper's mIoU of the rows and their mark; nothing if it lacks one."""
    found = [find_figure(inputs.settings, row, inputs.published) for row in rows]
    figures = [figure for figure, _ in found if figure is not None]
    if len(figures) < len(found):
        return [], ""
    return figures, max(mark_status(status) for _, status in found)


def _fit_slope(x: "np.ndarray[tuple[int], np.dtype[np.float64]]", y: Sequence[float]) -> float:
    return float(np.polyfit(x, y, 1)[0])


def _read_scores(inputs: Inputs, row: str) -> Values:
    return by_seed(inputs.results.get(row, []))
