"""A page for each variant of a profile: how it is made, what it scored, and what it costs."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.engine.files import flatten
from pipeline.reporting import provenance
from pipeline.reporting.claims import details
from pipeline.reporting.claims.judging import judge_claims
from pipeline.reporting.columns import Column, Number, Table
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.pictures import gallery as pictures
from pipeline.reporting.sections import Figure, Section
from pipeline.reporting.tables import deviations, networks, rows, runs

CURVE = (
    "The training loss of each seed, smoothed by averages over parts of the training; the scale is "
    "logarithmic."
)
SETTINGS = (Column("key"), Column("value"), Column("own", "the variant's own"))
CLASSES = (Column("class"), Number("iou", "IoU", ".1f", "not in val"), Number("sd", "sd", ".1f"))


class Page(NamedTuple):
    """A variant's page: its name, its sections, and the name of its curve's file."""

    variant: str
    sections: list[Section]
    curve: str


def build_pages(inputs: Inputs, has_curves: bool) -> Iterator[Page]:
    """Yield the page of each row that the profile trains; has_curves: whether losses are there."""
    tests = details.build_details(inputs, judge_claims(inputs.claims, inputs))  # of all rows
    for name in inputs.settings.rows:
        curve = f"{name}.svg" if has_curves and inputs.results[name] else ""
        yield Page(name, list(_build_sections(inputs, name, curve, tests)), curve)


def build_list(inputs: Inputs) -> Section:
    """Return the section that links to the pages."""
    links = ", ".join(f"[{name}](variants/{name}.html)" for name in inputs.settings.rows)
    words = "its settings, its command, its seeds, its curve, its classes, its cost and its claims"
    return Section(
        "variants", "Each variant by itself", notes=f"A page each, with {words}: {links}."
    )


def _build_sections(inputs: Inputs, name: str, curve: str, tests: Table) -> Iterator[Section]:
    settings, own_runs = inputs.settings, inputs.results[name]
    stages = " ".join(f"evaluate@{name}-{seed}" for seed in settings.seeds)
    yield Section(
        "variant",
        f"{name}, {rows.name_model(settings.variants[name])}: profile {settings.profile}",
        1,
        table=runs.build_table(own_runs) if own_runs else None,
        intro=(
            f"[All rows of this profile](../index.html). This trains and scores it again:\n\n"
            f"    python -m pipeline use {settings.profile}\n    dvc repro {stages}"
        ),
        notes="" if own_runs else "It is not measured.",
        origin=provenance.find_origin(run.record for run in own_runs),
    )
    yield Section("settings", "Settings", table=_list_settings(inputs, name))
    if curve:
        figure = Figure(curve, f"The training loss of {name} against the iteration", CURVE)
        yield Section("curve", "Learning curve", figures=(figure,))
    if own_runs:
        yield Section("classes", "IoU by class", table=_list_classes(inputs, name))
    yield _select_tests(tests, name)
    if inputs.networks is not None:
        frame = networks.build_frame(inputs.networks, inputs.results)
        own = frame[frame["variant"] == name]
        yield Section("cost", "Cost", table=Table(own, networks.COLUMNS), notes=networks.NOTE)
    yield from pictures.select_pictures(settings, inputs.results, name)
    yield deviations.build_code_section(settings, name, inputs.published)


def _list_settings(inputs: Inputs, name: str) -> Table:
    """Return the network's settings; which of them are the variant's own is said."""
    settings = inputs.settings
    own = dict(flatten(settings.variants[name].model_dump(exclude_none=True)))
    resolved = dict(flatten(settings.resolve_network(name)))
    values = [(key, f"{value}", "yes" if key in own else "") for key, value in resolved.items()]
    return Table(pd.DataFrame(values, columns=["key", "value", "own"]), SETTINGS)


def _list_classes(inputs: Inputs, name: str) -> Table:
    """Return the IoU of each class in percent, mean and standard deviation over the seeds."""
    scores = [run.scores.first.class_iou for run in inputs.results[name]]
    found = []
    for label in scores[0]:
        values = [100 * x for own in scores if (x := own.get(label)) is not None]
        mean = np.mean(values) if values else np.nan
        found.append((label, mean, np.std(values, ddof=1) if len(values) > 1 else np.nan))
    return Table(pd.DataFrame(found, columns=["class", "iou", "sd"]), CLASSES)


def _select_tests(tests: Table, name: str) -> Section:
    """Return the section with the claims' tests of a row."""
    pattern = rf"(?:^|[ ,]){name}(?:$|[ ,])"
    own = tests.frame[tests.frame["test"].str.contains(pattern, regex=True)]
    notes = "" if len(own) else "No claim speaks of this row."
    return Section("claims", "Claims", table=Table(own, tests.columns), notes=notes)
