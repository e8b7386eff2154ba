"""The ledger: a row for each claim, a column for each experiment."""

import math
from collections.abc import Mapping
from functools import partial

import pandas as pd

from pipeline.reporting.claims.costs import CostAnswer
from pipeline.reporting.claims.entries import Claims
from pipeline.reporting.claims.judging import Answer, Judgement, Verdict
from pipeline.reporting.columns import Column, Row, Table
from pipeline.reporting.statistics import MOST_SEEDS, Interval

Judgements = Mapping[str, dict[str, Judgement]]  # by experiment and claim
NONE = "-"


def build_ledger(claims: Claims, judgements: Judgements) -> Table:
    """Return the ledger of the claims about accuracy.

    Each cell has the verdict, the answer that it hangs on, and a link to all answers.
    """
    rows = []
    for name, claim in claims.items():
        if claim.is_of_cost:
            continue
        row: Row = {"claim": claim.words, "paper": format_published(name, judgements)}
        for experiment, own in judgements.items():
            row[experiment] = format_judgement(own[name])
        rows.append(row)
    columns = [Column("claim"), Column("paper")]
    columns += [
        Column(experiment, format=partial(_link, experiment), is_verdict=True)
        for experiment in judgements
    ]
    return Table(pd.DataFrame(rows, columns=[c.key for c in columns]), tuple(columns))


def build_cost_ledger(claims: Claims, answers: list[CostAnswer]) -> Table:
    """Return a row for each ratio and device."""
    rows = [
        {
            "claim": claims[answer.claim].words,
            "what": "time" if answer.test.cost == "seconds" else "peak memory",
            "paper": answer.figure,
            "device": answer.device,
            "precision": answer.precision,
            "ratio": answer.ratio.value,
            "low": answer.ratio.low,
            "high": answer.ratio.high,
            "verdict": answer.verdict.value,
            "reason": answer.reason,
        }
        for answer in answers
    ]
    columns = (
        Column("what"),
        Column("paper", format=".0f", align="right"),
        Column("device"),
        Column("precision"),
        Column("ratio", format=_format_ratio, missing=lambda row: row["reason"], align="right"),
        Column("verdict", is_verdict=True),
    )
    keys = [c.key for c in columns]
    return Table(pd.DataFrame(rows, columns=["claim", *keys, "low", "high", "reason"]), columns)


def format_judgement(judgement: Judgement) -> str:
    """Return the verdict, and after a colon the answer that it hangs on."""
    answer = select_answer(judgement)
    if answer is None or math.isnan(answer.estimate.value):
        return judgement.verdict.value
    words = f"{name_test(judgement, answer)}{format_interval(answer.estimate)}"
    words += f", n {len(answer.question.values)}"
    if judgement.verdict is Verdict.UNDECIDED:
        words += f", {format_seeds(judgement.seeds_needed)}"
    return f"{judgement.verdict.value}: {words}"


def select_answer(judgement: Judgement) -> Answer | None:
    """Return the answer that the verdict hangs on: the least favourable one with this verdict."""
    own = [a for a in judgement.answers if a.verdict is judgement.verdict]
    return min(own, key=lambda a: a.estimate.value - a.question.threshold, default=None)


def name_test(judgement: Judgement, answer: Answer) -> str:
    """Return what is tested and a space, or nothing if the claim has one test alone."""
    return f"{answer.question.words} " if len(judgement.answers) > 1 else ""


def format_interval(interval: Interval) -> str:
    """Return a difference in points of mIoU with its interval."""
    if math.isnan(interval.low):
        return f"{interval.value:+z.1f}"
    return f"{interval.value:+z.1f} ({interval.low:+z.1f} to {interval.high:+z.1f})"


def format_seeds(needed: float) -> str:
    """Say how many seeds would decide."""
    if math.isnan(needed):
        return "more than one seed needed"
    if math.isinf(needed):
        return f"more than {MOST_SEEDS} seeds needed"
    return f"about {needed:.0f} seeds needed"


def count_verdicts(judgements: dict[str, Judgement]) -> dict[str, int]:
    """Count the claims of an experiment by verdict."""
    verdicts = [judgement.verdict for judgement in judgements.values()]
    return {verdict.value: verdicts.count(verdict) for verdict in Verdict}


def format_published(name: str, judgements: Judgements) -> str:
    """Return the paper's differences, which are the same in every experiment."""
    for own in judgements.values():
        questions = [answer.question for answer in own[name].answers]
        known = [f"{q.published:+z.1f}{q.mark}" for q in questions if q.published is not None]
        return ", ".join(known) or NONE
    return NONE


def _link(experiment: str, row: Row) -> str:
    verdict, _, words = str(row[experiment]).partition(": ")
    return f"{verdict}: [{words}](index.html#claims_{experiment})" if words else verdict


def _format_ratio(row: Row) -> str:
    if not math.isnan(row["low"]) and row["low"] != row["high"]:
        return f"{row['ratio']:.1f} ({row['low']:.1f} to {row['high']:.1f})"
    return f"{row['ratio']:.1f}"
