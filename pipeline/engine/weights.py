"""Read ImageNet weights for a backbone, and load them into it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ann.foreign import StateMatch, complete, find_state
from ann.timm_backbone import PREFIX, make_model
from pipeline.engine.errors import InputError
from pipeline.engine.foreign import ForeignFile, describe_reading, read_tensors
from pipeline.engine.weight_files import PACKAGES, find_weights

# Our modules' names to those in a file: torchvision's, or our own.
_NAMINGS: tuple[dict[str, str], ...] = ({"stem.0": "conv1", "stem.1": "bn1"}, {})
_OF_TIMM = "features."  # before the names of timm's modules in a TimmBackbone


def load_backbone(backbone: nn.Module, name: str, weights: str) -> list[str]:
    """Load weights into a backbone; return notes for the user. Arguments as of `read_backbone`."""
    tensors, messages = read_backbone(backbone, name, weights)
    backbone.load_state_dict(tensors)
    return messages


def read_backbone(
    backbone: nn.Module, name: str, weights: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the state dict for a backbone, and notes for the user.

    The file must have every tensor of the backbone with its shape. The classifier and everything
    else beside the backbone is ignored, and so is what a trainer put around it (see ann.foreign).

    Args:
        backbone: The backbone, which may be on the meta device.
        name: Its name.
        weights: What `find_weights` takes. A file has the layout of torchvision, or of timm for a
            backbone of timm.

    Raises:
        InputError: There are no such weights, or they do not fit.
    """
    path = find_weights(name, weights)
    try:
        content = read_tensors(path)
    except InputError as error:
        raise InputError(f"network.weights: {error}") from None
    if weights in PACKAGES:
        content = content._replace(content=_rename_by_order(content.content, name, path))
    names, match = _choose_layout(backbone, name, content)
    if match.faults:
        raise InputError(
            f"network.weights is {weights!r}; its tensors do not fit {name}: "
            f"{'; '.join(match.faults[:3])} ({len(match.faults)} in all)"
        )
    own = backbone.state_dict()
    tensors = {mine: match.tensors[n] for mine, n in names.items() if n in match.tensors}
    return complete(tensors, own), list(describe_reading(path, content, match))


def _choose_layout(
    backbone: nn.Module, name: str, content: ForeignFile
) -> tuple[dict[str, str], StateMatch]:
    """Return the map of our names to the file's that fits best, and the tensors that it finds."""
    matches = [
        (names, find_state(content.content, expected, others_allowed=True))
        for names, expected in _list_layouts(backbone, name)
    ]
    return min(matches, key=lambda pair: len(pair[1].faults))


def _list_layouts(
    backbone: nn.Module, name: str
) -> Iterator[tuple[dict[str, str], dict[str, Tensor]]]:
    """Yield what a file may call the backbone's tensors, and all tensors that it then has."""
    own = backbone.state_dict()
    if not name.startswith(PREFIX):
        for naming in _NAMINGS:
            names = {key: _rename(key, naming) for key in own}
            yield names, {names[key]: tensor for key, tensor in own.items()}
        return
    names = {key: key.removeprefix(_OF_TIMM) for key in own}
    cut = {names[key]: tensor for key, tensor in own.items()}
    yield names, _make_whole_state(name) | cut  # the backbone is only a part of timm's model
    yield names, cut


def _rename(key: str, naming: dict[str, str]) -> str:
    module, _, entry = key.rpartition(".")
    return f"{naming.get(module, module)}.{entry}"


def _make_whole_state(name: str) -> dict[str, Tensor]:
    """Return the state of a whole model of timm on the meta device, without its classifier."""
    with torch.device("meta"):
        model = make_model(name)
    classifier: Any = model.pretrained_cfg["classifier"]  # type: ignore[index]
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    return {
        key: tensor
        for key, tensor in model.state_dict().items()
        if not key.startswith(tuple(f"{head}." for head in heads))
    }


def _rename_by_order(tensors: dict[str, Any], name: str, path: Path) -> dict[str, Tensor]:
    """Return tensors with timm's names, which has the same tensors in the same order."""
    with torch.device("meta"):
        expected = make_model(name).state_dict()
    shapes = [tuple(tensor.shape) for tensor in expected.values()]
    if [tuple(tensor.shape) for tensor in tensors.values()] != shapes:
        raise InputError(f"{path}: its tensors are not those of {name}; install its package again")
    return dict(zip(expected, tensors.values(), strict=True))
