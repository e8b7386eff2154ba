"""Load ImageNet weights into a backbone, from torchvision or from a file."""

import socket
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor, nn

from ann.foreign import StateMatch, complete, find_state
from pipeline.engine.errors import InputError
from pipeline.engine.files import digest_file
from pipeline.engine.foreign import ForeignFile, describe_reading, read_tensors

IMAGENET = "imagenet"
_TIMEOUT = 30  # seconds without an answer of the server
# Our modules' names to those in a file: torchvision's, or our own.
_NAMINGS: tuple[dict[str, str], ...] = ({"stem.0": "conv1", "stem.1": "bn1"}, {})


def load_backbone(backbone: nn.Module, name: str, weights: str) -> list[str]:
    """Load weights into a backbone; return notes for the user.

    weights: "imagenet", or a file in torchvision's layout.
    """
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
        name: Its name in torchvision.
        weights: "imagenet", or a file in torchvision's layout.

    Raises:
        InputError: There are no such weights, or they do not fit.
    """
    path = _fetch_torchvision(name) if weights == IMAGENET else Path(weights)
    if not path.is_file():
        raise InputError(f"network.weights is {weights!r}; allowed are null, {IMAGENET} or a file")
    try:
        content = read_tensors(path)
    except InputError as error:
        raise InputError(f"network.weights: {error}") from None
    names, match = _choose_naming(backbone, content)
    if match.faults:
        raise InputError(
            f"network.weights is {weights!r}; its tensors do not fit {name}: "
            f"{'; '.join(match.faults[:3])} ({len(match.faults)} in all)"
        )
    own = backbone.state_dict()
    tensors = {mine: match.tensors[n] for mine, n in names.items() if n in match.tensors}
    return complete(tensors, own), list(describe_reading(path, content, match))


def _choose_naming(backbone: nn.Module, content: ForeignFile) -> tuple[dict[str, str], StateMatch]:
    """Return the map of our names to the file's that fits best, and the tensors that it finds."""
    own = backbone.state_dict()
    matches = []
    for naming in _NAMINGS:
        names = {key: _rename(key, naming) for key in own}
        expected = {names[key]: tensor for key, tensor in own.items()}
        matches.append((names, find_state(content.content, expected, others_allowed=True)))
    return min(matches, key=lambda pair: len(pair[1].faults))


def _rename(key: str, naming: dict[str, str]) -> str:
    module, _, entry = key.rpartition(".")
    return f"{naming.get(module, module)}.{entry}"


def _fetch_torchvision(name: str) -> Path:
    """Return the file of torchvision's weights from its cache or server, and check its hash."""
    from torchvision.models import get_model_weights

    url = get_model_weights(name)["IMAGENET1K_V1"].url
    file = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    prefix = file.stem.rpartition("-")[2]  # of its sha256
    advice = (
        f"fetch it from {url} by hand and put it there, or name another file by network.weights"
    )
    if not file.is_file():
        print(f"downloading {url} to {file}", flush=True)
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_TIMEOUT)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), prefix, progress=False)
        except (OSError, RuntimeError, ValueError, HTTPException) as error:
            raise InputError(
                f"network.weights is {IMAGENET!r}; {file} could not be downloaded "
                f"({_describe_error(error)}); {advice}"
            ) from None
        finally:
            socket.setdefaulttimeout(before)
    if not digest_file(file).startswith(prefix):
        raise InputError(
            f"network.weights is {IMAGENET!r}; {file} is damaged: its sha256 does not begin with "
            f"{prefix}; remove it, and it is downloaded again"
        )
    return file


def _describe_error(error: Exception) -> str:
    text = str(getattr(error, "reason", error)) or type(error).__name__
    return " ".join(text.split())[:120]
