"""The sections of the claims, for a profile's page and for the index."""

from collections.abc import Iterator

from pipeline.reporting.claims import details, ledger
from pipeline.reporting.claims.costs import judge_costs
from pipeline.reporting.claims.judging import judge_claims
from pipeline.reporting.comparable import explain_evidence
from pipeline.reporting.inputs import Inputs, Overview
from pipeline.reporting.provenance import origin
from pipeline.reporting.sections import Section, TableFile


def build_results(inputs: Inputs) -> Section:
    """Return the first section of a profile's page: its ledger, and what it is evidence for."""
    own = judge_claims(inputs.claims, inputs)
    notes = "\n\n".join([details.explain_power(own, default), *details.RULE])
    source = details.collect_origin(inputs, own)
    return Section(
        name,
        f"The tests of `{inputs.experiment}`",
        level,
        table=table,
        notes=notes,
        origin=source,
        files=(TableFile(name, table, notes, source),),
    )


def build_overview(overview: Overview) -> Iterator[Section]:
    """Yield the sections of the index: the ledger, the costs, and the tests behind them."""
    judgements = {e.experiment: judge_claims(overview.claims, e) for e in overview.experiments}
    evidence = [
        f"- **{e.experiment}**: {explain_evidence(e.settings)}" for e in overview.experiments
    ]
    said = details.explain_origin(overview.claims)
    yield Section(
        "claims",
        "The paper's claims",
        1,
        table=ledger.build_ledger(overview.claims, judgements),
        notes="\n\n".join(filter(None, ["\n".join(evidence), said, *details.RULE])),
    )
    answers = judge_costs(overview.claims, overview.blocks, overview.published)
    costs = ledger.build_cost_ledger(overview.claims, answers)
    words = " ".join(claim.words for claim in overview.claims.values() if claim.is_of_cost)
    source = origin(overview.blocks)
    notes = f"{words}\n\n{details.COST_RULE}"
    yield Section(
        "cost_claims",
        "The paper's claims on cost",
        table=costs,
        notes=notes,
        origin=source,
        files=(TableFile("cost_claims", costs, notes, source),),
    )
    for inputs in overview.experiments:
        yield build_answers(inputs)
