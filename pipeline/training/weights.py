"""ImageNet weights for a backbone, from torchvision or from a file."""

import socket
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor, nn

from ann.foreign import Found, complete, find_state
from pipeline.common.cli import InputError
from pipeline.common.files import file_digest
from pipeline.common.foreign import Held, notes, read_held

IMAGENET = "imagenet"
_PATIENCE = 30  # seconds for a server that says nothing
_NAMINGS: tuple[dict[str, str], ...] = ({"stem.0": "conv1", "stem.1": "bn1"}, {})  # ours: as it is


def load_backbone(backbone: nn.Module, name: str, weights: str) -> list[str]:
    """Load `weights`, "imagenet" or a file in torchvision's layout; return what to say of it."""
    tensors, said = read_backbone(backbone, name, weights)
    backbone.load_state_dict(tensors)
    return said


def read_backbone(
    backbone: nn.Module, name: str, weights: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the state dict for a backbone, which may be on the meta device, and what to say of it.

    Every tensor of the backbone must be there with its shape. The classifier and all else beside
    the backbone are left out, and so is what a trainer put around it (see ann.foreign).
    """
    path = _torchvision(name) if weights == IMAGENET else Path(weights)
    if not path.is_file():
        raise InputError(f"network.weights is {weights!r}; allowed are null, {IMAGENET} or a file")
    try:
        held = read_held(path)
    except InputError as error:
        raise InputError(f"network.weights: {error}") from None
    names, found = _find(backbone, held)
    if found.faults:
        raise InputError(
            f"network.weights is {weights!r}; its tensors do not fit {name}: "
            f"{'; '.join(found.faults[:3])} ({len(found.faults)} in all)"
        )
    own = backbone.state_dict()
    tensors = {mine: found.tensors[n] for mine, n in names.items() if n in found.tensors}
    return complete(tensors, own), list(notes(path, held, found))


def _find(backbone: nn.Module, held: Held) -> tuple[dict[str, str], Found]:
    """The naming that fits best, of our names to the file's, and what it finds."""
    own = backbone.state_dict()
    tries = []
    for naming in _NAMINGS:
        names = {key: _renamed(key, naming) for key in own}
        expected = {names[key]: tensor for key, tensor in own.items()}
        tries.append((names, find_state(held.content, expected, others_allowed=True)))
    return min(tries, key=lambda pair: len(pair[1].faults))


def _renamed(key: str, naming: dict[str, str]) -> str:
    module, _, entry = key.rpartition(".")
    return f"{naming.get(module, module)}.{entry}"


def _torchvision(name: str) -> Path:
    """The file of torchvision's weights, from its cache or its server, with the right hash."""
    from torchvision.models import get_model_weights

    url = get_model_weights(name)["IMAGENET1K_V1"].url
    file = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    begins = file.stem.rpartition("-")[2]  # of its sha256
    by_hand = (
        f"fetch it from {url} by hand and put it there, or name another file by network.weights"
    )
    if not file.is_file():
        print(f"downloading {url} to {file}", flush=True)
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_PATIENCE)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), begins, progress=False)
        except (OSError, RuntimeError, ValueError, HTTPException) as error:
            raise InputError(
                f"network.weights is {IMAGENET!r}; {file} could not be downloaded "
                f"({_reason(error)}); {by_hand}"
            ) from None
        finally:
            socket.setdefaulttimeout(before)
    if not file_digest(file).startswith(begins):
        raise InputError(
            f"network.weights is {IMAGENET!r}; {file} is damaged: its sha256 does not begin with "
            f"{begins}; remove it, and it is downloaded again"
        )
    return file


def _reason(error: Exception) -> str:
    text = str(getattr(error, "reason", error)) or type(error).__name__
    return " ".join(text.split())[:120]
