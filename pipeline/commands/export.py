"""Write a trained network as a file that the authors' code or mmsegmentation loads.

python -m pipeline export LAYOUT WEIGHTS OUT
"""

from pathlib import Path

import torch

from ann import LAYOUTS, export_state
from ann.layouts import drop_auxiliary
from pipeline.engine import checkpoint, errors, networks
from pipeline.engine.files import whole_file
from pipeline.settings.fields import NetworkSettings

TRAINING_ONLY = {"dropout", "zero_init"}


def check_network(file: Path, network: NetworkSettings, layout: str) -> None:
    """Raise an InputError for a network that computes something else than the layout's."""
    own, theirs = (n | n["options"] for n in (network, networks.describe_layout(layout)))
    for key in sorted(theirs.keys() - TRAINING_ONLY - {"options"}):
        if own.get(key) != theirs[key]:
            raise errors.InputError(
                f"{file}: {key} must be {theirs[key]!r} in the {layout} layout, got "
                f"{own.get(key)!r}"
            )


def main(layout: str, source: Path, target: Path) -> None:
    if layout not in LAYOUTS:
        raise errors.InputError(f"LAYOUT must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    state, about = checkpoint.load(source)
    if "network" not in about:
        raise errors.InputError(f"{source}: not a network that this project wrote")
    check_network(source, about["network"], layout)
    try:
        tensors = export_state(layout, state)
    except ValueError as error:
        raise errors.InputError(f"{source}: {error}") from None
    if not about.get("auxiliary", True):  # its weights are only zeros
        tensors = drop_auxiliary(layout, tensors)
    # A .pth, because those projects do not read safetensors; through a file object, because
    # torch.save would write the path's name into the file.
    with whole_file(target) as partial, partial.open("wb") as file:
        torch.save({"state_dict": tensors}, file)
    print(f"{target}: {len(tensors)} tensors in the {layout} layout")
