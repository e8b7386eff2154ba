"""Write a network of ours as a file that the authors' code or mmsegmentation loads; no stage.

python -m pipeline.export authors|mmseg WEIGHTS.safetensors OUT.pth
"""

import sys
from pathlib import Path
from typing import Any

import torch

from ann import LAYOUTS, export_state
from ann.layouts import without_auxiliary
from pipeline.common import checkpoint, cli
from pipeline.common.files import whole_file

TRAINING_ONLY = {"dropout", "zero_init"}


def check_network(file: Path, network: dict[str, Any], layout: str) -> None:
    """Refuse a network that computes something else than the layout's."""
    own, theirs = (n | n["options"] for n in (network, checkpoint.layout_network(layout)))
    for key in sorted(theirs.keys() - TRAINING_ONLY - {"options"}):
        if own.get(key) != theirs[key]:
            raise cli.InputError(
                f"{file}: its {key} is {own.get(key)!r}; allowed in the {layout} layout is only "
                f"{theirs[key]!r}"
            )


def main() -> None:
    if len(sys.argv) != 4 or sys.argv[1] not in LAYOUTS:
        raise cli.InputError(
            f"usage: python -m pipeline.export {'|'.join(LAYOUTS)} WEIGHTS.safetensors OUT.pth"
        )
    layout, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    state, about = checkpoint.load(source)
    if "network" not in about:
        raise cli.InputError(f"{source}: not a network that this project wrote")
    check_network(source, about["network"], layout)
    try:
        tensors = export_state(layout, state)
    except ValueError as error:
        raise cli.InputError(f"{source}: {error}") from None
    if not about.get("auxiliary", True):  # imported without, so that its weights mean nothing
        tensors = without_auxiliary(layout, tensors)
    # A .pth of plain tensors, for those projects read no safetensors; by a file object, for
    # torch.save writes a path's name into the file.
    with whole_file(target) as partial, partial.open("wb") as file:
        torch.save({"state_dict": tensors}, file)
    print(f"{target}: {len(tensors)} tensors in the {layout} layout")


if __name__ == "__main__":
    cli.run(main)
