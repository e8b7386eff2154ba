"""The pyramid pooling module of PSPNet (section 3.2 there), with a narrow fusing convolution."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ann import BlockOptions, Sampler
from ann.backbone import conv_bn_relu
from contexts import at_least_one

TITLE = "PPM"
PAPER = "Zhao et al., CVPR 2017, arXiv 1612.01105"


class Context(nn.Module):
    """Averages over n x n bins, each n a level: ReLU(BN(Conv)), enlarged; all fused with X.

    bins: the n of the levels. width: channels of each. PSPNet fuses by a 3x3 convolution of what is
    then 4096 channels; here it is 1x1, as the paper's blocks fuse.
    """

    def __init__(
        self, channels: int, options: BlockOptions, *, bins: Sequence[int], width: int
    ) -> None:
        super().__init__()
        at_least_one(bins=bins, width=width)
        self.sampler = Sampler("pyramid_average", bins)
        self.levels = nn.ModuleList(
            nn.Sequential(*conv_bn_relu(channels, width, 1, bias=options.bias)) for _ in bins
        )
        fused = channels + len(bins) * width
        self.fuse = nn.Sequential(*conv_bn_relu(fused, channels, 1, bias=options.bias))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        bins, size = self.sampler.pool_sizes, x.shape[2:]
        averages = self.sampler([x])[0].split([n * n for n in bins], dim=2)  # (B, C, n^2) each
        maps = [
            F.interpolate(level(part.unflatten(2, (n, n))), size, mode="bilinear")
            for n, part, level in zip(bins, averages, self.levels, strict=True)
        ]
        fused: Tensor = self.fuse(torch.cat([x, *maps], dim=1))
        return fused
