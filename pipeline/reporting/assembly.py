"""The report from top to bottom."""

from collections.abc import Iterator
from typing import Any

from pipeline.reporting import method, outliers, variants
from pipeline.reporting.claims import sections as claims
from pipeline.reporting.figures import gallery as figures
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.pictures import gallery as pictures
from pipeline.reporting.results import mean
from pipeline.reporting.sections import Section
from pipeline.reporting.tables import (
    beyond,
    blocks,
    classes,
    deviations,
    imported,
    networks,
    paper,
    remedies,
    runs,
)
from pipeline.settings.paths import ReportPaths

UNMEASURED_COSTS = (
    "Not measured. `dvc repro efficiency networks` measures it, and `dvc repro -s report` then "
    "shows it."
)


def build_report(inputs: Inputs) -> list[Section]:
    """Return all sections, with the figures and pictures that there are."""
    paths = ReportPaths(inputs.settings.profile)
    current = figures.are_current(paths)
    return [figures.add_figures(section, current, paths) for section in _build_sections(inputs)]


def _build_sections(inputs: Inputs) -> Iterator[Section]:
    settings = inputs.settings
    papers = list(paper.build_sections(inputs))
    yield claims.build_results(inputs)
    yield from papers
    yield claims.build_answers(inputs)
    if falls := outliers.build_section(inputs):
        yield falls
    if inputs.failures:
        yield runs.build_failures(inputs.failures)
    if settings.checkpoints:
        yield imported.build_section(inputs)
    yield classes.build_section(inputs)
    for name, build in (("remedies", remedies), ("beyond", beyond)):
        if name in settings.active.tables:
            yield build.build_section(inputs)
    if inputs.blocks and inputs.networks is not None:
        yield blocks.build_section(inputs)
        yield networks.build_section(inputs, inputs.networks)
    else:
        yield Section("efficiency", "Efficiency", notes=UNMEASURED_COSTS)
    yield variants.build_list(inputs)
    yield from figures.build_sections()
    yield from pictures.build_sections(settings, inputs.results)
    yield method.build_section(settings)
    yield deviations.build_section(inputs)
    yield runs.build_sources(inputs)


def list_metrics(inputs: Inputs, sections: list[Section]) -> dict[str, Any]:
    """Return what metrics.json has: mIoU in percent by variant, verdicts, and orders."""
    miou = {name: round(mean(own), 2) for name, own in inputs.results.items() if own}
    return {"miou": miou} | {s.name: s.metrics for s in sections if s.metrics}
