"""The bins of adaptive pooling, and their averages as products of matrices.

Bin i of n covers the positions floor(i H / n) to ceil((i + 1) H / n) of H.
"""

from functools import lru_cache

import torch
from torch import Tensor


def bins(size: int, n: int) -> list[tuple[int, int]]:
    """Return start and end of the n bins that adaptive pooling makes of `size` positions."""
    return [(i * size // n, -(-(i + 1) * size // n)) for i in range(n)]


def _averaging_weights(size: int, pool_sizes: tuple[int, ...]) -> tuple[float, ...]:
    """Return the averaging matrix as numbers, because a tensor would outlive a trace."""
    return tuple(
        (start <= position < end) / (end - start)
        for n in pool_sizes
        for start, end in bins(size, n)
        for position in range(size)
    )


_cached_weights = lru_cache(_averaging_weights)


def averaging_matrix(size: int, pool_sizes: tuple[int, ...], like: Tensor) -> Tensor:
    """Return the matrix whose rows average the bins of each pool size along one axis.

    Args:
        size: The positions of the axis.
        pool_sizes: The n of each pooling.
        like: A tensor with the dtype and device of the result.

    Returns:
        (R, size), where R is the sum of the pool sizes.
    """
    # TorchDynamo warns of a function that is cached.
    weights_of = _averaging_weights if torch.compiler.is_compiling() else _cached_weights
    weights = weights_of(size, pool_sizes)
    return torch.tensor(weights, dtype=like.dtype, device=like.device).view(-1, size)


def average(x: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Average a map over each pool size of rows with each of columns, one axis at a time.

    Products of matrices are exact, deterministic on CUDA, and read the map once for all sizes.

    Args:
        x: (B, C, H, W).
        down: (R, H), the averaging matrix of the rows.
        across: (R, W), the averaging matrix of the columns.

    Returns:
        (B, R, R, C).
    """
    if x.is_contiguous():  # then no copy to channels last is needed
        return (down @ (x @ across.T)).permute(0, 2, 3, 1)
    columns = across @ x.permute(0, 2, 3, 1)  # (B, H, R, C)
    return (down @ columns.flatten(2)).unflatten(2, columns.shape[2:])
