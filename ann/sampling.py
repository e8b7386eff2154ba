"""The sampling of key and value: paper section 3.2 (pyramid) and its table of sampling methods.

A sampler turns maps (B, C, H, W) into anchors (B, C, S). With pool sizes n, S = sum of n^2.

    random           n^2 positions anywhere on the map, without replacement
    max, average     adaptive pooling to n x n
    pyramid_*        the same for several n; pyramid_random draws one position in each bin

The paper names the methods and does not spell out the random ones; this is our reading. The
bins are those of adaptive pooling: bin i of n covers floor(i H / n) to ceil((i + 1) H / n).
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ann.noise import uniform

SAMPLINGS = (
    "random",
    "max",
    "average",
    "pyramid_random",
    "pyramid_max",
    "pyramid_average",
)


def anchors(pool_sizes: Sequence[int]) -> int:
    """The number of anchors, S = sum of n^2."""
    return sum(n * n for n in pool_sizes)


def bins(size: int, n: int) -> list[tuple[int, int]]:
    """Start and end of the n bins that adaptive pooling makes of `size` positions."""
    return [(i * size // n, -(-(i + 1) * size // n)) for i in range(n)]


def _averaging_weights(size: int, pool_sizes: tuple[int, ...]) -> tuple[float, ...]:
    """Return the averaging matrix as numbers: a kept tensor would survive tracing and devices."""
    return tuple(
        (start <= position < end) / (end - start)
        for n in pool_sizes
        for start, end in bins(size, n)
        for position in range(size)
    )


_kept_weights = lru_cache(_averaging_weights)


def averaging_matrix(size: int, pool_sizes: tuple[int, ...], like: Tensor) -> Tensor:
    """Return (sum n, size), whose rows average the bins of each pool size along one axis."""
    # TorchDynamo warns of a function that is cached.
    weights_of = _averaging_weights if torch.compiler.is_compiling() else _kept_weights
    weights = weights_of(size, pool_sizes)
    return torch.tensor(weights, dtype=like.dtype, device=like.device).view(-1, size)


def average(x: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Average (B, C, H, W) over each pool size of rows with each of columns, one axis at a time.

    Products of matrices are exact, deterministic on CUDA, and read the map once for all sizes.

    Args:
        x: The map.
        down: (R, H), the averaging matrix of the rows.
        across: (R, W), the averaging matrix of the columns.

    Returns:
        (B, R, R, C).
    """
    if x.is_contiguous():  # then no copy to channels last is needed
        return (down @ (x @ across.T)).permute(0, 2, 3, 1)
    columns = across @ x.permute(0, 2, 3, 1)  # (B, H, R, C)
    return (down @ columns.flatten(2)).unflatten(2, columns.shape[2:])


class Sampler(nn.Module):
    """Samples one or more maps at the same places.

    `sampling` is one of SAMPLINGS; the methods without a pyramid take exactly one pool size.
    """

    def __init__(self, sampling: str, pool_sizes: Sequence[int], stream: int = 0) -> None:
        super().__init__()
        if sampling not in SAMPLINGS:
            raise ValueError(f"sampling is {sampling!r}; allowed are {', '.join(SAMPLINGS)}")
        if not pool_sizes or min(pool_sizes) < 1:
            raise ValueError(f"pool_sizes is {list(pool_sizes)}; allowed are sizes of 1 or more")
        if not sampling.startswith("pyramid_") and len(pool_sizes) > 1:
            raise ValueError(f"pool_sizes is {list(pool_sizes)}; {sampling} sampling takes one")
        self.sampling, self.pool_sizes, self.stream = sampling, tuple(pool_sizes), stream

    @property
    def linear(self) -> bool:
        """Whether a convolution of 1x1 may as well follow the sampling as come before it."""
        return not self.sampling.endswith("max")

    def extra_repr(self) -> str:
        return f"{self.sampling}, pool_sizes={self.pool_sizes}, S={anchors(self.pool_sizes)}"

    def forward(self, maps: Sequence[Tensor], keys: Tensor | None = None) -> list[Tensor]:
        """Maps (B, C_i, H, W) -> anchors (B, C_i, S); keys (B,) decide the random methods.

        In evaluation the random methods use one fixed key, so that a result can be repeated.
        """
        height, width = map(int, maps[0].shape[2:])  # numbers, which no tracer turns into nodes
        self.check(height, width)
        if self.sampling.endswith("average"):
            return [self._average(x, height, width) for x in maps]
        if self.sampling.endswith("max"):
            return [self._max(x) for x in maps]
        if keys is None or not self.training:
            keys = torch.zeros(maps[0].shape[0], dtype=torch.int64, device=maps[0].device)
        places = self._places(keys, height, width)  # (B, S)
        return [_gather(x, places) for x in maps]

    def check(self, height: int, width: int) -> None:
        """Refuse a map that has fewer positions than `random` sampling draws from it.

        The other methods take maps smaller than their pool sizes, as adaptive pooling does.

        Raises:
            ValueError: It names pool_sizes and what fits the map.
        """
        if self.sampling == "random" and anchors(self.pool_sizes) > height * width:
            raise ValueError(
                f"pool_sizes is {list(self.pool_sizes)}; allowed are at most {height * width} "
                f"positions, which the feature map of {height}x{width} has"
            )

    def _average(self, x: Tensor, height: int, width: int) -> Tensor:
        down, across = (averaging_matrix(n, self.pool_sizes, x) for n in (height, width))
        averages = average(x, down, across)  # each pool size of rows with each of columns
        ends = list(accumulate(self.pool_sizes))
        blocks = (slice(end - n, end) for n, end in zip(self.pool_sizes, ends, strict=True))
        return torch.cat([averages[:, b, b].flatten(1, 2) for b in blocks], 1).transpose(1, 2)

    def _max(self, x: Tensor) -> Tensor:
        return torch.cat([F.adaptive_max_pool2d(x, n).flatten(2) for n in self.pool_sizes], dim=2)

    def boxes(self, height: int, width: int) -> Tensor:
        """(S, 4) top, bottom, left and right of what each anchor is drawn from in evaluation.

        That is its bin, and for a method that picks positions the one that it picks.
        """
        if self.sampling.endswith(("average", "max")):
            top, tall, left, wide = self._bins(height, width).T
            return torch.stack([top, top + tall, left, left + wide], dim=1)
        places = self._places(torch.zeros(1, dtype=torch.int64), height, width)[0]
        rows, columns = places // width, places % width
        return torch.stack([rows, rows + 1, columns, columns + 1], dim=1)

    def _bins(self, height: int, width: int) -> Tensor:
        """(S, 4) top, height, left and width of the bins of all pool sizes."""
        return torch.tensor(
            [
                (top, bottom - top, left, right - left)
                for n in self.pool_sizes
                for top, bottom in bins(height, n)
                for left, right in bins(width, n)
            ]
        )

    def _places(self, keys: Tensor, height: int, width: int) -> Tensor:
        if self.sampling == "random":
            noise = uniform(keys, self.stream, height * width)
            return noise.topk(anchors(self.pool_sizes), dim=1).indices
        boxes = self._bins(height, width).to(keys.device)
        top, tall, left, wide = boxes.T
        u, v = uniform(keys, self.stream, 2 * len(boxes)).chunk(2, dim=1)  # (B, S) each
        return (top + (u * tall).long()) * width + left + (v * wide).long()


def _gather(x: Tensor, places: Tensor) -> Tensor:
    return x.flatten(2).gather(2, places[:, None, :].expand(-1, x.shape[1], -1))
