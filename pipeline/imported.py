"""Stage imported: make a published checkpoint a network of ours and score it like a trained one.

    python -m pipeline.imported NAME

NAME is one of `checkpoints` in params.yaml. Writes weights/<profile>/NAME.safetensors, and its
scores and where they come from under runs/<profile>/NAME. Nothing is trained.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ann.layouts import has_auxiliary, import_found
from pipeline.common import checkpoint, cli, params, provenance, trials
from pipeline.common.files import file_digest, read_json, write_json
from pipeline.common.foreign import notes, read_held
from pipeline.common.paths import RunPaths
from pipeline.common.processes import launch
from pipeline.evaluate import score
from pipeline.inputs.store import Store
from pipeline.prepare import MANIFEST, folder
from pipeline.scoring.shown import evaluation_trials


def read(given: params.Checkpoint) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the checkpoint as a state dict of ours, and what its file is to say of it."""
    file = Path(given.file)
    held = read_held(file)
    try:
        state, found = import_found(given.layout, held.content)
    except ValueError as error:
        raise cli.InputError(f"{file}: {error}") from None
    for note in notes(file, held, found):
        print(note)
    if has_auxiliary(given.layout, found.tensors):
        return state, {}
    print(f"{file}: has no auxiliary head; scoring does not use one, so its weights are zeros")
    return state, {"auxiliary": False}


def convert(
    name: str, given: params.Checkpoint, data: Path, weights: Path, evaluate: params.Evaluate
) -> None:
    """Write the checkpoint in our form; an InputError if its tensors do not fit layout or data."""
    manifest, file = read_json(data / MANIFEST), Path(given.file)
    state, about = read(given)
    classes, found = manifest["classes"], len(state["classifier.weight"])
    if found != len(classes):
        raise cli.InputError(
            f"{file}: trained for {found} classes; allowed are the {len(classes)} of "
            f"{manifest['dataset']}"
        )
    network = checkpoint.layout_network(given.layout)
    sizes = Store(data, "val").sizes
    trials.refuse(f"checkpoints.{name}", network, evaluation_trials(sizes, evaluate))
    checkpoint.save(weights, state, network=network, classes=classes, **about)


def main() -> None:
    settings = params.load()
    if len(sys.argv) != 2:
        raise cli.InputError("usage: python -m pipeline.imported NAME")
    name = sys.argv[1]
    given = params.listed_checkpoint(settings, name)
    params.require_checked(settings, "evaluate")
    paths, data = RunPaths(settings.profile, name, None), folder(settings.profile)
    fabric = launch()
    if fabric.is_global_zero:
        convert(name, given, data, paths.weights, settings.active.evaluate)
    fabric.barrier()
    scores = score(paths, data, settings.active.evaluate, fabric)
    if not fabric.is_global_zero:
        return
    write_json(paths.scores, scores)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    write_json(
        paths.record,
        {
            "profile": settings.profile,
            "checkpoint": given.model_dump(),
            "digest": file_digest(Path(given.file)),
            "weights_sha256": file_digest(paths.weights),
            "network": checkpoint.layout_network(given.layout),
            "code": provenance.code_version(),
            "environment": provenance.environment(device),
        },
    )


if __name__ == "__main__":
    cli.run(main)
