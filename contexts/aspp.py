"""Atrous spatial pyramid pooling of DeepLabv3 (section 3.3 there), by torchvision."""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP

from ann import BlockOptions
from ann.backbone import conv_bn_relu
from contexts import require_at_least_one

TITLE = "ASPP"
PAPER = "Chen et al., 2017, arXiv 1706.05587"


class Context(ASPP):  # type: ignore[misc]
    """A 1x1 convolution, a 3x3 one for each rate, and the image's average, projected to C.

    Args:
        channels: C.
        options: The network's options; `bias` is that of the projection.
        rates: The dilations of the 3x3 convolutions.
        width: Channels of each branch, 256 in DeepLabv3.

    Raises:
        ValueError: It names the setting and what is allowed.
    """

    def __init__(
        self, channels: int, options: BlockOptions, *, rates: Sequence[int], width: int
    ) -> None:
        require_at_least_one(rates=rates, width=width)
        super().__init__(channels, rates, width)
        branches = (len(rates) + 2) * width
        # torchvision's ends in `width` channels and an nn.Dropout, which ignores the samples' ids
        self.project = nn.Sequential(*conv_bn_relu(branches, channels, 1, bias=options.bias))
        self.rates = tuple(rates)

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the shape of x, (B, C, H, W).

        Raises:
            ValueError: A rate is too large for the map.
        """
        height, width = x.shape[2:]
        if max(self.rates) >= min(height, width):
            raise ValueError(
                f"rates must be 1 to {min(height, width) - 1}, got {list(self.rates)}, because a "
                f"wider convolution sees only padding on the feature map of {height}x{width}"
            )
        y: Tensor = super().forward(x)
        return y
