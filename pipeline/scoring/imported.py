"""Convert a checkpoint that others trained into a network of ours."""

from pathlib import Path
from typing import Any

from torch import Tensor

from ann.layouts import has_auxiliary, import_match
from pipeline.data.prepared.store import Store
from pipeline.engine import checkpoint, errors, networks
from pipeline.engine.foreign import describe_reading, read_tensors
from pipeline.scoring.sizes import evaluation_trials
from pipeline.settings import records, schema, trials
from pipeline.settings.paths import MANIFEST


def read_checkpoint(source: schema.Checkpoint) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the checkpoint as a state dict of ours, and notes for the file that it goes to."""
    file = Path(source.file)
    content = read_tensors(file)
    try:
        state, match = import_match(source.layout, content.content)
    except ValueError as error:
        raise errors.InputError(f"{file}: {error}") from None
    for note in describe_reading(file, content, match):
        print(note)
    if has_auxiliary(source.layout, match.tensors):
        return state, {}
    print(f"{file}: has no auxiliary head; scoring does not use one, so its weights are zeros")
    return state, {"auxiliary": False}


def convert(
    name: str, source: schema.Checkpoint, data: Path, weights: Path, evaluate: schema.Evaluate
) -> None:
    """Write a checkpoint as a weights file of ours.

    Args:
        name: The checkpoint's name in params.yaml.
        source: Its file and layout.
        data: The prepared data, whose classes and sizes it must fit.
        weights: The file to write.
        evaluate: The evaluation that it must be able to do.

    Raises:
        InputError: Its tensors do not fit the layout or the data.
    """
    manifest, file = records.read(records.Manifest, data / MANIFEST), Path(source.file)
    state, about = read_checkpoint(source)
    classes, count = manifest.classes, len(state["classifier.weight"])
    if count != len(classes):
        raise errors.InputError(
            f"{file} must be trained for the {len(classes)} classes of {manifest.dataset}, got "
            f"{count}"
        )
    network = networks.describe_layout(source.layout)
    sizes = Store(data, "val").sizes
    trials.check_network(f"checkpoints.{name}", network, evaluation_trials(sizes, evaluate))
    checkpoint.save(weights, state, network=network, classes=classes, **about)
