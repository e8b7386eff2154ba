"""Save and load weights and training state as safetensors."""

import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.engine.errors import InputError
from pipeline.engine.files import whole_file

_ABOUT = "about"
_OPTIMIZER = "optimizer."
_BACKBONE = "backbone."


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


def own_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of a network, without that of its backbone if it is frozen."""
    state = model.state_dict()
    if not getattr(model, "freeze", False):
        return state
    return {name: t for name, t in state.items() if not name.startswith(_BACKBONE)}


def load_own_state(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load what `own_state` returned.

    Raises:
        RuntimeError: The tensors are not those of the network.
    """
    frozen = {name: t for name, t in model.state_dict().items() if name not in own_state(model)}
    model.load_state_dict(frozen | tensors)


def flatten_state(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the state of a model and its optimizer as one flat dictionary of tensors."""
    state = {
        f"{_OPTIMIZER}{i}.{name}": torch.as_tensor(value)
        for i, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
        if value is not None
    }
    return state | own_state(model)


def restore_state(tensors: dict[str, Tensor], model: nn.Module, optimizer: Optimizer) -> None:
    """Load what `flatten_state` returned into a model and its optimizer; empties `tensors`."""
    entries: dict[int, dict[str, Tensor]] = {}
    for name in [n for n in tensors if n.startswith(_OPTIMIZER)]:
        index, key = name.removeprefix(_OPTIMIZER).split(".")
        entries.setdefault(int(index), {})[key] = tensors.pop(name)
    load_own_state(model, tensors)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": entries})
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if value.shape == parameter.shape:  # a fused step reads both in the same layout
                state[name] = torch.empty_like(parameter).copy_(value)
