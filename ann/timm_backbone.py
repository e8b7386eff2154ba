"""A model of timm whose maps at two modules stand for Stage4 and Stage5."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from types import ModuleType

PREFIX = "timm/"
_SIDES = 128, 256  # of the image that shows the maps' sizes


def _import_timm(name: str) -> "ModuleType":
    try:
        import timm.models
    except ImportError as error:
        raise ImportError(f"backbone {name} needs timm; `pip install timm` installs it") from error
    return timm


def make_model(name: str, **options: Any) -> nn.Module:
    """Return a model of timm with random weights.

    Args:
        name: timm/NAME, where NAME may have a tag, as in timm/resnet50.a1_in1k.
        options: Of timm's `create_model`.

    Raises:
        ValueError: timm has no such model.
        ImportError: timm is not installed.
    """
    timm, own = _import_timm(name), name.removeprefix(PREFIX)
    if not timm.is_model(own):
        close = get_close_matches(own, timm.list_models(pretrained=False), 3)
        near = f"; did you mean {', '.join(PREFIX + model for model in close)}?" if close else ""
        raise ValueError(f"backbone must be a model of timm {timm.__version__}, got {name!r}{near}")
    return timm.create_model(own, pretrained=False, **options)


class TimmBackbone(nn.Module):
    """A model of timm, as far as its second level, that returns the maps of two levels.

    Args:
        name: timm/NAME.
        output_stride: The stride of both maps; timm turns further strides into dilations.
        levels: The modules of the model that make Stage4 and Stage5, as in ("layer3", "layer4").

    Attributes:
        stage4_channels: Channels of Stage4.
        stage5_channels: Channels of Stage5.
        pixels: Mean and standard deviation of RGB in 0..255 that timm's weights expect.

    Raises:
        ValueError: It names the argument and what is allowed.
        ImportError: timm is not installed.
    """

    def __init__(
        self, name: str, *, output_stride: int = 8, levels: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        try:
            model = make_model(name, output_stride=output_stride)
        except (AssertionError, NotImplementedError, TypeError) as error:
            raise ValueError(
                f"output_stride must be {name}'s own, which is fixed, got {output_stride} ({error})"
            ) from None
        self.pixels = tuple(
            tuple(255 * value for value in model.pretrained_cfg[key])  # type: ignore[index]
            for key in ("mean", "std")
        )
        self.features = _cut(name, model, levels)
        shapes = self._measure()
        for level, shape in zip(levels or (), shapes, strict=True):
            expected = tuple(side // output_stride for side in _SIDES)
            if len(shape) != 4 or shape[2:] != expected:
                raise ValueError(
                    f"levels must give maps of Cx{expected[0]}x{expected[1]} for an image of "
                    f"{_SIDES[0]}x{_SIDES[1]} with output_stride {output_stride}, got "
                    f"{'x'.join(map(str, shape[1:]))} of {level!r}"
                )
        self.stage4_channels, self.stage5_channels = (shape[1] for shape in shapes)

    def _measure(self) -> list[tuple[int, ...]]:
        """Return the shapes of the maps, without computing them."""
        self.features.eval()
        tensors = {**dict(self.features.named_parameters()), **dict(self.features.named_buffers())}
        on_meta = {key: tensor.to("meta") for key, tensor in tensors.items()}
        image = torch.zeros(1, 3, *_SIDES, device="meta")
        maps = torch.func.functional_call(self.features, on_meta, (image,))
        self.features.train()
        return [tuple(maps[key].shape) for key in ("stage4", "stage5")]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return Stage4 and Stage5 of normalised images (B, 3, H, W)."""
        maps = self.features(x)
        return maps["stage4"], maps["stage5"]


def _cut(name: str, model: nn.Module, levels: Sequence[str] | None) -> nn.Module:
    """Return the part of a model that makes the maps of two levels."""
    from timm.models import create_feature_extractor

    known = [info["module"] for info in getattr(model, "feature_info", [])]
    example = f"; {name} has, among others, {', '.join(known)}" if known else ""
    if levels is None or len(levels) != 2 or len(set(levels)) != 2:
        shown = None if levels is None else list(levels)
        raise ValueError(f"levels must be two modules of the timm backbone, got {shown}{example}")
    modules = dict(model.named_modules())
    for level in levels:
        if level not in modules or not level:
            raise ValueError(f"levels must be modules of {name}, got {level!r}{example}")
    try:
        return create_feature_extractor(model, {levels[0]: "stage4", levels[1]: "stage5"})
    except Exception as error:  # of any type: the model's code runs on stand-ins for tensors
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"levels must be where {name} can be cut, got {list(levels)} ({reason})"
        ) from None
