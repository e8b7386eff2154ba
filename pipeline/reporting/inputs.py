"""All that the reports and the figures are made from, read once."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.engine.errors import InputError
from pipeline.reporting.claims.entries import Claims, read_claims
from pipeline.reporting.measured import Published
from pipeline.reporting.results import Results, group_runs, list_checkpoints, list_failures
from pipeline.settings import records
from pipeline.settings.paths import EFFICIENCY, PUBLISHED, RESULTS, ReportPaths
from pipeline.settings.records import (
    BlockCosts,
    CheckpointLine,
    ExternalLine,
    FailureLine,
    Line,
    NetworkCosts,
    RunLine,
)
from pipeline.settings.schema import Params


@dataclass(frozen=True)
class Inputs:
    """What params.yaml and the files in reports/ say of one experiment.

    Attributes:
        experiment: Its name, that of its file in reports/results.
        settings: params.yaml with the experiment's profile as the active one, and its tables alone.
        results: The trained runs by variant.
        imported: The scores and records of the imported checkpoints by name.
        failures: The runs without a score.
        published: published.yaml, the figures of the paper and of others.
        blocks: What blocks cost, one file for each machine.
        networks: What networks cost; None if that was not measured.
        claims: claims.yaml, the paper's claims.
    """

    experiment: str
    settings: Params
    results: Results
    imported: dict[str, CheckpointLine]
    failures: list[FailureLine]
    published: Published
    blocks: list[BlockCosts]
    networks: NetworkCosts | None
    claims: Claims


@dataclass(frozen=True)
class Overview:
    """What params.yaml and the files in reports/ say of all experiments.

    Attributes:
        settings: params.yaml.
        published: published.yaml.
        blocks: What blocks cost, one file for each machine.
        claims: claims.yaml.
        experiments: Those with results, the active profile's first.
        external: Label files that others predicted.
    """

    settings: Params
    published: Published
    blocks: list[BlockCosts]
    claims: Claims
    experiments: list[Inputs]
    external: list[ExternalLine]


def read_inputs(settings: Params) -> Inputs:
    """Read what there is of the active profile; what is not there yet is empty."""
    file = ReportPaths(settings.profile).results
    return collect_inputs(settings, settings.profile, _read_lines(file) if file.exists() else [])


def read_overview(settings: Params) -> Overview:
    """Read all experiments.

    Raises:
        InputError: A file holds the runs of several profiles, or of one that params.yaml does not
            have.
    """
    experiments: list[Inputs] = []
    external: list[ExternalLine] = []
    for file in sorted(RESULTS.glob("*.jsonl"), key=lambda f: (f.stem != settings.profile, f.stem)):
        lines = _read_lines(file)
        external += [line for line in lines if isinstance(line, ExternalLine)]
        if len(lines) > sum(isinstance(line, ExternalLine) for line in lines):
            view = settings.view(_find_profile(file, lines, settings))
            experiments.append(collect_inputs(view, file.stem, lines))
    claims = read_claims(settings)
    return Overview(settings, _read_published(), _read_blocks(), claims, experiments, external)


def collect_inputs(settings: Params, name: str, lines: list[Line]) -> Inputs:
    """Return the inputs of an experiment's page, or of its column in the index.

    Args:
        settings: params.yaml with the experiment's profile as the active one.
        name: The experiment.
        lines: Its results.
    """
    networks = ReportPaths(name).networks
    return Inputs(
        experiment=name,
        settings=settings.model_copy(update={"tables": settings.shown_tables}),
        results=group_runs(lines, settings.variants),
        imported=list_checkpoints(lines),
        failures=list_failures(lines),
        published=_read_published(),
        blocks=_read_blocks(),
        networks=records.read(NetworkCosts, networks) if networks.exists() else None,
        claims=read_claims(settings),
    )


def _read_lines(file: Path) -> list[Line]:
    return records.read_lines(file.read_text(encoding="utf-8"), file)


def _find_profile(file: Path, lines: list[Line], settings: Params) -> str:
    """Return the profile that the lines are of; failures have the name of the file."""
    scored = [line for line in lines if isinstance(line, RunLine | CheckpointLine)]
    profiles = sorted({line.record.profile for line in scored} or {file.stem})
    if len(profiles) > 1:
        raise InputError(f"{file} must have runs of one profile, got {', '.join(profiles)}")
    if profiles[0] not in settings.profiles:
        raise InputError(
            f"{file} is of the profile {profiles[0]!r}, which params.yaml does not have; delete "
            f"the file, or add the profile"
        )
    return profiles[0]


def _read_published() -> Published:
    published: Published = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    return published


def _read_blocks() -> list[BlockCosts]:
    return [records.read(BlockCosts, file) for file in sorted(EFFICIENCY.glob("*.json"))]
