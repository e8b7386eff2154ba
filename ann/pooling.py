"""The bins of adaptive pooling, and their averages as products of matrices.

Bin i of n covers the positions floor(i H / n) to ceil((i + 1) H / n) of H.
"""

import torch
from torch import Tensor

from ann.constants import cached_on_device


def bin_edges(size: int, n: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Return start and end of the n bins that adaptive pooling makes of `size` positions, (n,).

    They are computed on the device, so that the host need not wait. For a compiled network `size`
    may vary.
    """
    i = torch.arange(n, device=device)
    return i * size // n, -(-(i + 1) * size // n)


def _make_matrix(
    size: int, pool_sizes: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    wide = torch.promote_types(dtype, torch.float32)
    position, rows = torch.arange(size, device=device), []
    for n in pool_sizes:
        start, end = (edge[:, None] for edge in bin_edges(size, n, device))
        rows.append(((start <= position) & (position < end)).to(wide) / (end - start))
    return torch.cat(rows).to(dtype)


_cached_matrix = cached_on_device(_make_matrix)


def averaging_matrix(size: int, pool_sizes: tuple[int, ...], like: Tensor) -> Tensor:
    """Return the matrix whose rows average the bins of each pool size along one axis.

    Args:
        size: The positions of the axis.
        pool_sizes: The n of each pooling.
        like: A tensor with the dtype and device of the result.

    Returns:
        (R, size), where R is the sum of the pool sizes.
    """
    return _cached_matrix(like, size, pool_sizes, like.dtype, like.device)


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
