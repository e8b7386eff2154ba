"""The answers behind the ledger, and the words that explain it."""

import math

import numpy as np
import pandas as pd

from pipeline.reporting import provenance
from pipeline.reporting.claims.costs import TOLERANCE
from pipeline.reporting.claims.entries import Claims
from pipeline.reporting.claims.judging import Answer, Judgement
from pipeline.reporting.claims.ledger import format_interval, format_seeds
from pipeline.reporting.columns import Column, Number, Row, Table
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.provenance import Origin
from pipeline.reporting.published import DAGGER_NOTE
from pipeline.reporting.statistics import LEVEL, POWER, Interval

VERDICTS = (
    f"**Verdicts.** Each claim is tested by the differences of rows on equal seeds. *supported*: "
    f"the t-test shows it (p < {LEVEL}, adjusted over all tests of the experiment by Holm's "
    "method). *contradicted*: it shows the opposite. *undecided*: it shows neither. *not "
    "measured*: a row has no run. A claim of several tests is supported if all are, and "
    "contradicted if one is.\n\n"
    f"**Seeds needed.** So many reach a verdict {100 * POWER:.0f} % of the time, if the true "
    "difference is the measured one: in one test that points against the claim, otherwise in all."
)
FIGURES = (
    "**Figures.** Differences are in points of mIoU, with 95 % intervals of Student's t. The "
    "intervals are not adjusted, so a claim may be undecided although its interval leaves out "
    "zero. *paper*: "
    f"the paper's differences, where it has them. {DAGGER_NOTE} That sampling costs no accuracy "
    "means at most one point, the margin in `reports/claims.yaml`."
)
RULE = (VERDICTS, FIGURES)
COST_RULE = (
    "*ratio*: NB's cost over APNB's, of a forward pass of the plain form with 2048 channels and a "
    f"batch of 1. *supported*: the ratio is at least {100 * (1 - TOLERANCE):.0f} % of the paper's, "
    "*contradicted*: it is less, *undecided*: the calls disagree."
)
COST_RANGE = "In brackets: from the fastest call of one block and the slowest of the other."


def list_answers(judgements: dict[str, Judgement]) -> list[tuple[str, Answer]]:
    """Return all answers of an experiment, each with its claim's words."""
    return [(j.claim.words, answer) for j in judgements.values() for answer in j.answers]


def build_details(inputs: Inputs, judgements: dict[str, Judgement]) -> Table:
    """Return a row for each test of an experiment."""
    profile = inputs.settings.profiles[inputs.settings.profile]
    default = len(profile.seeds)
    rows = [_describe(words, answer, default) for words, answer in list_answers(judgements)]
    columns = (
        Column("claim"),
        Column("test"),
        Number("threshold", "against", "+z.1f"),
        Number("n"),
        Column("seeds"),
        Number("estimate", "difference", _format_estimate),
        Number("published", "paper", lambda row: f"{row['published']:+z.1f}{row['mark']}"),
        Number("p", format=_format_p),
        Number("adjusted_p", "adjusted p", lambda row: _format_p(row, "adjusted_p")),
        Column("verdict", is_verdict=True),
        Number("seeds_needed", "seeds needed", lambda row: format_seeds(row["seeds_needed"])),
        Number("power_default", f"power, n {default}", ".0%"),
        Number("power", "power, n measured", ".0%"),
    )
    extra = ["low", "high", "values", "mark"]
    return Table(pd.DataFrame(rows, columns=[*(c.key for c in columns), *extra]), columns)


def _describe(words: str, answer: Answer, default: int) -> Row:
    question, n = answer.question, len(answer.question.values)
    is_open = answer.verdict.value == "undecided"
    return {
        "claim": words,
        "test": question.words,
        "threshold": question.threshold,
        "n": n,
        "seeds": " ".join(map(str, question.seeds)),
        "estimate": answer.estimate.value,
        "low": answer.estimate.low,
        "high": answer.estimate.high,
        "published": math.nan if question.published is None else question.published,
        "p": question.p,
        "adjusted_p": answer.adjusted_p,
        "verdict": answer.verdict.value,
        "seeds_needed": answer.seeds_needed if is_open else math.nan,
        "power_default": answer.power(default),
        "power": answer.power(n),
        "mark": question.mark,
        "values": " ".join(f"{value:.4f}" for value in question.values),
    }


def explain_power(judgements: dict[str, Judgement], default: int) -> str:
    """Say how often the paper's differences would be shown, with the measured spread."""
    answers = [answer for _, answer in list_answers(judgements)]
    most = max((len(answer.question.values) for answer in answers), default=0)
    powers = {
        n: [p for answer in answers if not math.isnan(p := answer.power(n))]
        for n in (default, most)
    }
    known = {n: values for n, values in powers.items() if values}
    if not known:
        return "**Power** is unknown below two seeds."
    parts = [f"{np.mean(values):.0%} with {n} seeds" for n, values in known.items()]
    return (
        "**Power.** If the rows differed as much as in the paper, with the spread measured here, a "
        f"test would show it in {' and in '.join(parts)}, mean over the tests. It counts a test "
        "that is alone at the strictest level of Holm's method, so the truth is a little better."
    )


def explain_origin(claims: Claims) -> str:
    """Return a line for each claim with more to say: what was built in, and what others saw."""
    lines = []
    for claim in claims.values():
        words = f"Built into the drawn scenes: {claim.built_in}" if claim.built_in else ""
        parts = " ".join(filter(None, [words, claim.noted]))
        if parts:
            lines.append(f"- *{claim.words}* {parts}")
    return "\n".join(lines)


def collect_origin(inputs: Inputs, judgements: dict[str, Judgement]) -> Origin:
    """Return where the answers come from."""
    names = dict.fromkeys(row for _, a in list_answers(judgements) for row in a.question.rows)
    return provenance.find_origin(
        [run.record for name in names for run in inputs.results.get(name, [])]
    )


def _format_estimate(row: Row) -> str:
    return format_interval(Interval(row["estimate"], row["low"], row["high"]))


def _format_p(row: Row, key: str = "p") -> str:
    return "< 0.001" if row[key] < 0.001 else f"{row[key]:.3f}"
