"""Weights and training state as safetensors: never a pickle, written whole or not at all."""

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
from pipeline.common.cli import InputError
from pipeline.common.files import whole_file

_ABOUT = "about"
_OPTIMIZER = "optimizer."


def save(path: Path, tensors: dict[str, Tensor], **about: Any) -> None:
    """Write tensors with JSON values beside them."""
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    with whole_file(path) as partial:
        try:
            # one entry: the order of several is not repeatable
            save_file(plain, partial, {_ABOUT: json.dumps(about, sort_keys=True)})
        except SafetensorError as error:  # the library tells the system's errors as text
            number = re.search(r"code: (\d+)|os error (\d+)", str(error))
            if number is None:
                raise
            code = int(number[1] or number[2])
            raise OSError(code, os.strerror(code)) from None


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, and the values beside them."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(_ABOUT, "{}"))
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, about
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from None


def layout_network(layout: str) -> dict[str, Any]:
    """The `network` settings of a published layout, as params.yaml would say them."""
    settings = layout_settings(layout)
    return settings | {"options": asdict(settings["options"])}


def build(network: dict[str, Any], classes: int) -> SegmentationNetwork:
    """The network that the `network` settings of params.yaml describe."""
    settings = {k: v for k, v in network.items() if k not in ("weights", "options", "settings")}
    if settings["context"] not in CONTEXTS:
        settings["context"] = partial(
            contexts.load(settings["context"]).Context, **network["settings"]
        )
    return SegmentationNetwork(classes, options=BlockOptions(**network["options"]), **settings)


def load_network(path: Path) -> tuple[SegmentationNetwork, dict[str, Any]]:
    """A trained network by its file alone, and what the file says of itself."""
    tensors, about = load(path)
    if not {"network", "classes"} <= about.keys():
        raise InputError(
            f"{path}: not a network that this project wrote; another's is imported first, by "
            f"`checkpoints` in params.yaml"
        )
    network = build(about["network"], len(about["classes"]))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: its tensors are not those of its network ({reason})") from None
    return network, about


def training_state(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Model and optimizer as one flat dictionary of tensors."""
    state = {
        f"{_OPTIMIZER}{i}.{name}": torch.as_tensor(value)
        for i, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
        if value is not None
    }
    return state | model.state_dict()


def restore(tensors: dict[str, Tensor], model: nn.Module, optimizer: Optimizer) -> None:
    """The inverse of training_state."""
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
