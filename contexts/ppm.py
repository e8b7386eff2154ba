"""The pyramid pooling module of PSPNet (section 3.2 there), with a narrow fusing convolution."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ann import BlockOptions, Sampler
from ann.backbone import conv_bn_relu
from contexts import require_at_least_one

TITLE = "PPM"
PAPER = "Zhao et al., CVPR 2017, arXiv 1612.01105"


class Context(nn.Module):
    """Averages over n x n bins, one level for each n, fused with X.

    Each level is ReLU(BN(Conv)) of the averages, enlarged to the map. PSPNet fuses the levels by a
    3x3 convolution of 4096 channels. Here it is 1x1, as in the paper's blocks.

    Args:
        channels: C.
        options: The network's options; `bias` is that of the convolutions.
        bins: The n of the levels.
        width: Channels of each level.

    Raises:
        ValueError: It names the setting and what is allowed.
    """

    def __init__(
        self, channels: int, options: BlockOptions, *, bins: Sequence[int], width: int
    ) -> None:
        super().__init__()
        require_at_least_one(bins=bins, width=width)
        self.sampler = Sampler("pyramid_average", bins)
        self.levels = nn.ModuleList(
            nn.Sequential(*conv_bn_relu(channels, width, 1, bias=options.bias)) for _ in bins
        )
        fused = channels + len(bins) * width
        self.fuse = nn.Sequential(*conv_bn_relu(fused, channels, 1, bias=options.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the shape of x, (B, C, H, W)."""
        bins, size = self.sampler.pool_sizes, x.shape[2:]
        averages = self.sampler([x])[0].split([n * n for n in bins], dim=2)  # (B, C, n^2) each
        maps = [
            F.interpolate(level(part.unflatten(2, (n, n))), size, mode="bilinear")
            for n, part, level in zip(bins, averages, self.levels, strict=True)
        ]
        fused: Tensor = self.fuse(torch.cat([x, *maps], dim=1))
        return fused
