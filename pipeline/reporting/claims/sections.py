"""The sections of the claims, for a profile's page and for the index."""

from collections.abc import Iterable, Iterator

from pipeline.reporting.claims import details, ledger
from pipeline.reporting.claims.costs import judge_costs
from pipeline.reporting.claims.judging import judge_claims
from pipeline.reporting.comparable import explain_comparability, explain_evidence
from pipeline.reporting.inputs import Inputs, Overview
from pipeline.reporting.provenance import find_origin
from pipeline.reporting.sections import Section, TableFile


def build_results(inputs: Inputs) -> Section:
    """Return the first section of a profile's page: its ledger, and what it is evidence for."""
    own = judge_claims(inputs.claims, inputs)
    notes = [explain_comparability(inputs.settings) or explain_evidence(inputs.settings)]
    if inputs.settings.embedded:
        notes.append(details.explain_origin(inputs.claims))
    return Section(
        "results",
        f"The paper's claims in the experiment {inputs.experiment}",
        1,
        table=ledger.build_ledger(inputs.claims, {inputs.experiment: own}),
        notes=join(notes),
        metrics=ledger.count_verdicts(own),
    )


def build_answers(inputs: Inputs) -> Section:
    """Return the tests behind an experiment's column of the ledger."""
    own = judge_claims(inputs.claims, inputs)
    table, name = details.build_details(inputs, own), f"claims_{inputs.experiment}"
    default = len(inputs.settings.profiles[inputs.settings.profile].seeds)
    notes = join([details.explain_power(own, default), *details.RULE])
    source = details.collect_origin(inputs, own)
    return Section(
        name,
        f"The tests of {inputs.experiment}",
        table=table,
        notes=notes,
        origin=source,
        files=(TableFile(name, table, notes, source),),
    )


def list_evidence(experiments: Iterable[Inputs]) -> str:
    """Return what each experiment is evidence for, as a list in Markdown."""
    return "\n".join(f"- **{e.experiment}**: {explain_evidence(e.settings)}" for e in experiments)


def join(paragraphs: Iterable[str]) -> str:
    """Return Markdown of several paragraphs; empty ones are left out."""
    return "\n\n".join(filter(None, paragraphs))


def build_overview(overview: Overview) -> Iterator[Section]:
    """Yield the sections of the index: the ledger, the costs, and the tests behind them."""
    judgements = {e.experiment: judge_claims(overview.claims, e) for e in overview.experiments}
    said = details.explain_origin(overview.claims)
    yield Section(
        "claims",
        "The paper's claims",
        1,
        table=ledger.build_ledger(overview.claims, judgements),
        notes=join([list_evidence(overview.experiments), said, *details.RULE]),
    )
    answers = judge_costs(overview.claims, overview.blocks, overview.published)
    costs = ledger.build_cost_ledger(overview.claims, answers)
    words = " ".join(claim.words for claim in overview.claims.values() if claim.is_of_cost)
    source = find_origin(overview.blocks)
    has_range = any(answer.ratio.low < answer.ratio.high for answer in answers)
    ranges = details.COST_RANGE if has_range else ""
    notes = join([f"The paper's claim: {words}", details.COST_RULE, ranges])
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
