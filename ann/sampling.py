"""The sampling of key and value: paper section 3.2 (pyramid) and its table of sampling methods.

A sampler turns maps (B, C, H, W) into anchors (B, C, S). With pool sizes n, S = sum of n^2.

    random           n^2 positions anywhere on the map, without replacement
    max, average     adaptive pooling to n x n
    pyramid_*        the same for several n; pyramid_random draws one position in each bin

The paper names the methods and does not spell out the random ones; this is our reading.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ann.constants import cached_on_device
from ann.noise import uniform
from ann.pooling import average, averaging_matrix, bin_edges

SAMPLINGS = (
    "random",
    "max",
    "average",
    "pyramid_random",
    "pyramid_max",
    "pyramid_average",
)


def anchors(pool_sizes: Sequence[int]) -> int:
    """Return the number of anchors, S = sum of n^2."""
    return sum(n * n for n in pool_sizes)


class Sampler(nn.Module):
    """It samples one or more maps at the same places.

    Args:
        sampling: One of SAMPLINGS.
        pool_sizes: The n of each pooling; exactly one for the methods without a pyramid.
        stream: A number that keeps the samplers of a network apart.

    Raises:
        ValueError: It names the argument and what is allowed.
    """

    def __init__(self, sampling: str, pool_sizes: Sequence[int], stream: int = 0) -> None:
        super().__init__()
        if sampling not in SAMPLINGS:
            raise ValueError(f"sampling must be one of {', '.join(SAMPLINGS)}, got {sampling!r}")
        if not pool_sizes or min(pool_sizes) < 1:
            raise ValueError(f"pool_sizes must list sizes of 1 or more, got {list(pool_sizes)}")
        if not sampling.startswith("pyramid_") and len(pool_sizes) > 1:
            raise ValueError(f"pool_sizes must be one size for {sampling}, got {list(pool_sizes)}")
        self.sampling, self.pool_sizes, self.stream = sampling, tuple(pool_sizes), stream

    @property
    def linear(self) -> bool:
        """Whether a 1x1 convolution may follow the sampling as well as come before it."""
        return not self.sampling.endswith("max")

    def extra_repr(self) -> str:
        """Return what `repr` shows of the sampler."""
        return f"{self.sampling}, pool_sizes={self.pool_sizes}, S={anchors(self.pool_sizes)}"

    def forward(self, maps: Sequence[Tensor], sample_ids: Tensor | None = None) -> list[Tensor]:
        """Return the anchors of each map.

        In evaluation the random methods use one fixed id, so that a result can be repeated.

        Args:
            maps: Each (B, C, H, W); the channels may differ.
            sample_ids: (B,) int64, from which the random methods draw in training.

        Returns:
            Each (B, C, S).
        """
        height, width = map(int, maps[0].shape[2:])  # numbers, which no tracer turns into nodes
        self.check(height, width)
        if self.sampling.endswith("average"):
            return [self._average(x, height, width) for x in maps]
        if self.sampling.endswith("max"):
            return [self._max(x) for x in maps]
        if sample_ids is None or not self.training:
            sample_ids = torch.zeros(maps[0].shape[0], dtype=torch.int64, device=maps[0].device)
        places = self._places(sample_ids, height, width)  # (B, S)
        return [_pick(x, places[:, None].expand(-1, x.shape[1], -1)) for x in maps]

    def check(self, height: int, width: int) -> None:
        """Refuse a map that has fewer positions than `random` sampling draws from it.

        The other methods take maps smaller than their pool sizes, as adaptive pooling does.

        Raises:
            ValueError: It names pool_sizes and what fits the map.
        """
        if self.sampling == "random" and anchors(self.pool_sizes) > height * width:
            raise ValueError(
                f"pool_sizes must draw at most {height * width} positions, because the feature map "
                f"has {height}x{width}, got {list(self.pool_sizes)}"
            )

    def _average(self, x: Tensor, height: int, width: int) -> Tensor:
        down, across = (averaging_matrix(n, self.pool_sizes, x) for n in (height, width))
        averages = average(x, down, across)  # each pool size of rows with each of columns
        ends = list(accumulate(self.pool_sizes))
        blocks = (slice(end - n, end) for n, end in zip(self.pool_sizes, ends, strict=True))
        return torch.cat([averages[:, b, b].flatten(1, 2) for b in blocks], 1).transpose(1, 2)

    def _max(self, x: Tensor) -> Tensor:
        # Picking the positions of the maxima has a repeatable gradient on CUDA. Pooling has none.
        places = [
            F.adaptive_max_pool2d(x.detach(), n, return_indices=True)[1].flatten(2)
            for n in self.pool_sizes
        ]
        return _pick(x, torch.cat(places, dim=2))

    def boxes(self, height: int, width: int) -> Tensor:
        """Return what each anchor is drawn from in evaluation.

        That is its bin, or for a method that picks positions the one that it picks.

        Returns:
            (S, 4), top, bottom, left and right.
        """
        if self.sampling.endswith(("average", "max")):
            top, tall, left, wide = _list_bins(self.pool_sizes, height, width).T
            return torch.stack([top, top + tall, left, left + wide], dim=1)
        places = self._places(torch.zeros(1, dtype=torch.int64), height, width)[0]
        rows, columns = places // width, places % width
        return torch.stack([rows, rows + 1, columns, columns + 1], dim=1)

    def _places(self, sample_ids: Tensor, height: int, width: int) -> Tensor:
        """Return the positions that a random method picks, (B, S)."""
        if self.sampling == "random":
            noise = uniform(sample_ids, self.stream, height * width)
            return noise.topk(anchors(self.pool_sizes), dim=1).indices
        boxes = _cached_bins(sample_ids, self.pool_sizes, height, width, sample_ids.device)
        top, tall, left, wide = boxes.T
        u, v = uniform(sample_ids, self.stream, 2 * len(boxes)).chunk(2, dim=1)  # (B, S) each
        return (top + (u * tall).long()) * width + left + (v * wide).long()


def _list_bins(
    pool_sizes: tuple[int, ...], height: int, width: int, device: torch.device | None = None
) -> Tensor:
    """Return top, height, left and width of the bins of all pool sizes, (S, 4)."""
    bins = []
    for n in pool_sizes:
        top, bottom = bin_edges(height, n, device)
        left, right = bin_edges(width, n, device)
        rows = torch.stack([top, bottom - top], dim=1)[:, None].expand(n, n, 2)
        columns = torch.stack([left, right - left], dim=1)[None].expand(n, n, 2)
        bins.append(torch.cat([rows, columns], dim=2).flatten(0, 1))
    return torch.cat(bins)


_cached_bins = cached_on_device(_list_bins)


def _pick(x: Tensor, places: Tensor) -> Tensor:
    """Return the values at the positions `places`, both (B, C, S)."""
    return x.flatten(2).gather(2, places)
