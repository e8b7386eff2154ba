"""Stage imported: convert a published checkpoint to this project's network, and score it.

    python -m pipeline imported NAME

NAME is one of `checkpoints` in params.yaml. It writes weights/<profile>/NAME.safetensors. The
scores and their origin go to runs/<profile>/NAME. It trains nothing.
"""

from pathlib import Path

import torch

from pipeline.engine import networks, provenance
from pipeline.engine.files import digest_file
from pipeline.engine.processes import launch
from pipeline.reporting.pictures import examples
from pipeline.scoring.evaluation import score
from pipeline.scoring.imported import convert
from pipeline.settings import inputs, records
from pipeline.settings.paths import RunPaths, locate_prepared


def main(name: str) -> None:
    settings = inputs.load_checkpoint(name)
    source, protocols = settings.checkpoints[name], settings.active.evaluate
    paths, data = RunPaths(settings.profile, name, None), locate_prepared(settings.profile)
    fabric = launch()
    if fabric.is_global_zero:
        convert(name, source, data, paths.weights, protocols)
    fabric.barrier()
    result = score(paths, data, protocols, fabric)
    if not fabric.is_global_zero:
        return
    examples.write_examples(paths.predictions, result.store, result.dataset, result.predictions)
    records.write(paths.scores, result.scores)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    record = records.CheckpointRecord(
        version=1,
        profile=settings.profile,
        checkpoint=source,
        digest=digest_file(Path(source.file)),
        weights_sha256=digest_file(paths.weights),
        network=networks.describe_layout(source.layout),
        code=records.Code(**provenance.read_code_version()),
        environment=records.Environment(**provenance.describe_machine(device)),
    )
    records.write(paths.record, record)
