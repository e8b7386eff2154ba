"""Save and load weights and training state as safetensors, and build networks from them."""

import json
import os
import re
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

import contexts
from ann import CONTEXTS, BlockOptions, SegmentationNetwork, layout_settings
from pipeline.engine.errors import InputError
from pipeline.engine.files import whole_file

_ABOUT = "about"
_OPTIMIZER = "optimizer."


def save(path: Path, tensors: dict[str, Tensor], **about: Any) -> None:
    """Write tensors, with `about` as JSON in the file's metadata."""
    stored = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    with whole_file(path) as partial:
        try:
            # One entry, because the order of several is not repeatable.
            save_file(stored, partial, {_ABOUT: json.dumps(about, sort_keys=True)})
        except SafetensorError as error:  # it has the system's error number only in its text
            number = re.search(r"code: (\d+)|os error (\d+)", str(error))
            if number is None:
                raise
            code = int(number[1] or number[2])
            raise OSError(code, os.strerror(code)) from None


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a file and the JSON values of its metadata."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(_ABOUT, "{}"))
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, about
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from None


def describe_layout(layout: str) -> dict[str, Any]:
    """Return the `network` settings of a published layout, as params.yaml would have them."""
    settings = layout_settings(layout)
    return settings | {"options": asdict(settings["options"])}


def build(network: dict[str, Any], classes: int) -> SegmentationNetwork:
    """Build the network that the `network` settings of params.yaml describe."""
    settings = {k: v for k, v in network.items() if k not in ("weights", "options", "settings")}
    if settings["context"] not in CONTEXTS:
        settings["context"] = partial(
            contexts.load(settings["context"]).Context, **network["settings"]
        )
    return SegmentationNetwork(classes, options=BlockOptions(**network["options"]), **settings)


def load_network(path: Path) -> tuple[SegmentationNetwork, dict[str, Any]]:
    """Load a trained network from its file alone.

    Returns:
        The network, and the JSON values of the file's metadata.

    Raises:
        InputError: The file is not one of this project's networks.
    """
    tensors, about = load(path)
    if not {"network", "classes"} <= about.keys():
        raise InputError(
            f"{path}: not a network that this project wrote; import it first, by `checkpoints` in "
            f"params.yaml"
        )
    network = build(about["network"], len(about["classes"]))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: its tensors are not those of its network ({reason})") from None
    return network, about


def flatten_state(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the state of a model and its optimizer as one flat dictionary of tensors."""
    state = {
        f"{_OPTIMIZER}{i}.{name}": torch.as_tensor(value)
        for i, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
        if value is not None
    }
    return state | model.state_dict()


def restore_state(tensors: dict[str, Tensor], model: nn.Module, optimizer: Optimizer) -> None:
    """Load what `flatten_state` returned into a model and its optimizer; empties `tensors`."""
    entries: dict[int, dict[str, Tensor]] = {}
    for name in [n for n in tensors if n.startswith(_OPTIMIZER)]:
        index, key = name.removeprefix(_OPTIMIZER).split(".")
        entries.setdefault(int(index), {})[key] = tensors.pop(name)
    model.load_state_dict(tensors)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": entries})
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if value.shape == parameter.shape:  # a fused step reads both in the same layout
                state[name] = torch.empty_like(parameter).copy_(value)
