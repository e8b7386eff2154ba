"""The result in the repository's README: the ledger in short."""

import pandas as pd

from pipeline.reporting.claims.judging import Judgement, judge_claims
from pipeline.reporting.claims.ledger import format_published, name_test, select_answer
from pipeline.reporting.claims.sections import join, list_evidence
from pipeline.reporting.columns import Column, Table
from pipeline.reporting.inputs import Overview
from pipeline.reporting.rendering import to_markdown


def render_results(overview: Overview) -> str:
    """Return the claims with their verdicts in the profiles' experiments, as Markdown."""
    experiments = [e for e in overview.experiments if e.experiment == e.settings.profile]
    judgements = {e.experiment: judge_claims(overview.claims, e) for e in experiments}
    rows = [
        {"claim": claim.words, "paper": format_published(name, judgements)}
        | {experiment: _shorten(own[name]) for experiment, own in judgements.items()}
        for name, claim in overview.claims.items()
        if not claim.is_of_cost
    ]
    columns = [Column("claim"), Column("paper"), *(Column(name) for name in judgements)]
    table = Table(pd.DataFrame(rows, columns=[c.key for c in columns]), tuple(columns))
    return join([to_markdown(table), list_evidence(experiments)])


def _shorten(judgement: Judgement) -> str:
    """Return the verdict and the difference that it hangs on."""
    answer = select_answer(judgement)
    if answer is None or not answer.question.values:
        return judgement.verdict.value
    difference = f"{name_test(judgement, answer)}{answer.estimate.value:+z.1f}"
    return f"{judgement.verdict.value}, {difference}"
