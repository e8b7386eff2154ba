"""ImageNet weights for a backbone, from torchvision or from a file."""

from pathlib import Path

from torch import Tensor, nn

from pipeline.common.checkpoint import read_tensors
from pipeline.common.cli import InputError

IMAGENET = "imagenet"


def load_backbone(backbone: nn.Module, name: str, weights: str) -> None:
    """Load `weights`, "imagenet" or a file in torchvision's layout.

    Every tensor of the backbone must be there with its shape; the classifier is left out.
    """
    state = _read(name, weights)
    renamed = {_renamed(key): tensor for key, tensor in state.items() if key[:3] != "fc."}
    own = backbone.state_dict()
    wrong = sorted(
        key
        for key in own.keys() | renamed.keys()
        if key not in own or key not in renamed or own[key].shape != renamed[key].shape
    )
    if wrong:
        raise InputError(
            f"network.weights is {weights!r}; its tensors do not fit {name}: "
            f"{', '.join(wrong[:3])} ({len(wrong)} in all)"
        )
    backbone.load_state_dict(renamed)


def _renamed(key: str) -> str:
    first, *rest = key.split(".")
    return ".".join([{"conv1": "stem.0", "bn1": "stem.1"}.get(first, first), *rest])


def _read(name: str, weights: str) -> dict[str, Tensor]:
    if weights == IMAGENET:
        from torchvision.models import get_model_weights

        return dict(get_model_weights(name)["IMAGENET1K_V1"].get_state_dict(check_hash=True))
    path = Path(weights)
    if not path.is_file():
        raise InputError(f"network.weights is {weights!r}; allowed are null, {IMAGENET} or a file")
    try:
        return read_tensors(path)
    except InputError as error:
        raise InputError(f"network.weights: {error}") from None
