"""All that the report and the figures are made from, read once."""

from dataclasses import dataclass

import yaml

from pipeline.reporting.measured import Published
from pipeline.reporting.results import Results, read, read_failed, read_imported
from pipeline.settings import records
from pipeline.settings.paths import EFFICIENCY, NETWORKS, PUBLISHED, RESULTS
from pipeline.settings.records import BlockCosts, CheckpointLine, FailureLine, NetworkCosts
from pipeline.settings.schema import Params


@dataclass(frozen=True)
class Inputs:
    """What params.yaml and the other stages' files in reports/ say.

    Attributes:
        settings: params.yaml.
        results: The trained runs by variant.
        imported: The scores and records of the imported checkpoints by name.
        failures: The runs without a score.
        published: published.yaml, the figures of the paper and of others.
        blocks: What blocks cost, one file for each machine.
        networks: What networks cost; None if that was not measured.
    """

    settings: Params
    results: Results
    imported: dict[str, CheckpointLine]
    failures: list[FailureLine]
    published: Published
    blocks: list[BlockCosts]
    networks: NetworkCosts | None


def read_inputs(settings: Params) -> Inputs:
    """Read the files in reports/; what is not there yet is empty."""
    variants = list(settings.variants)
    collected = RESULTS.exists()
    return Inputs(
        settings=settings,
        results=read(RESULTS, variants) if collected else {name: [] for name in variants},
        imported=read_imported(RESULTS) if collected else {},
        failures=read_failed(RESULTS) if collected else [],
        published=yaml.safe_load(PUBLISHED.read_text(encoding="utf-8")),
        blocks=[records.read(BlockCosts, file) for file in sorted(EFFICIENCY.glob("*.json"))],
        networks=records.read(NetworkCosts, NETWORKS) if NETWORKS.exists() else None,
    )
