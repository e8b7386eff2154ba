"""The fast form of a block: the plain form's result up to rounding, with less time and memory.

It is exact algebra in PyTorch's own operations:

- A 1x1 convolution commutes with averaging and picking. So the map is sampled first. The value, and
  the key where no batch norm follows it, is then computed for S anchors instead of N positions.
- The fusing convolution F = [F_1 F_2] of cat(W_o O, X) is F_1 W_o O + F_2 X. F_1 W_o is folded into
  the S anchors, or into one matrix where S is large. So nothing of size N x 2C is made.
- Without a softmax, (query^T key) value^T is query^T (key value^T), and no N x S matrix is made.
- Where N x S is large, scaled_dot_product_attention never holds the whole softmax.

ann.orders counts the multiply-adds of each order of products, and the cheapest is taken.

The folding reads the weights of `output` and `fuse.0` and does not call these layers. If somebody
has modified one of them, the block computes the plain form and warns once.
"""

import warnings
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ann import plain
from ann.factors import compute_factors
from ann.layers import Layers, find_modified_layer, is_projection, is_unmodified, to_matrix
from ann.recompute import keep_or_recompute
from ann.sampling import Sampler


def forward(layers: Layers, x: Tensor, source: Tensor, sample_ids: Tensor | None) -> Tensor:
    """Return the block's map before dropout.

    Args:
        layers: The layers of the block.
        x: (B, C, H, W).
        source: x itself, or the low-level map (B, C_l, h, w) of the fusion blocks.
        sample_ids: (B,) int64, from which random sampling draws.

    Returns:
        (B, C, H, W).
    """
    modified = find_modified_layer(layers)
    if modified is not None:
        if not torch.compiler.is_compiling():
            warnings.warn(
                f"NonLocalBlock computes the plain form because its layer {modified} has a hook or "
                f"is not the layer it was made as; form='plain' does the same without this warning",
                stacklevel=3,
            )
        return plain.forward(layers, x, source, sample_ids)
    front, back = split_fusing(layers.fuse)
    left, right = keep_or_recompute(attend, layers, x, source, sample_ids, front)
    return combine(layers, x, left, right, front, back)


def attend(
    layers: Layers, x: Tensor, source: Tensor, sample_ids: Tensor | None, front: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return two matrices whose product is W_o O or F_1 W_o O, see compute_factors."""
    query = layers.query(x)
    key, value = compute_key_and_value(layers, query, source, sample_ids)
    return compute_factors(layers, to_rows(query), key, value, front)


def split_fusing(fuse: nn.Sequential | None) -> tuple[Tensor | None, Tensor | None]:
    """Return F_1 and F_2 (C, C) of the fusing convolution; None in a residual block."""
    if fuse is None:
        return None, None
    assert isinstance(fuse[0], nn.Conv2d)
    front, back = to_matrix(fuse[0]).chunk(2, dim=1)
    return front, back


def to_rows(x: Tensor) -> Tensor:
    """View a map (B, C, H, W) as one row a position, (B, N, C)."""
    return x.flatten(2).transpose(1, 2)


def compute_key_and_value(
    layers: Layers, query: Tensor, source: Tensor, sample_ids: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the key (B, S, K) and the value (B, S, V).

    Args:
        layers: The layers of the block.
        query: (B, K, H, W), also the key where the block has no layer of its own for it.
        source: (B, C, H, W) or (B, C_l, h, w).
        sample_ids: (B,) int64, from which random sampling draws.
    """
    pair = [layers.key] if layers.value is None else [layers.key, layers.value]
    sampler = layers.sampler
    late = isinstance(sampler, Sampler) and is_unmodified(sampler, Sampler) and sampler.linear
    after = [late and is_projection(layer) for layer in pair]  # the layer follows the sampling
    maps = [source.to(query.dtype)] if any(after) else []
    for layer, is_late in zip(pair, after, strict=True):
        if not is_late:
            maps.append(query if layer is None else layer(source))
    if sampler is None:
        samples = [to_rows(m) for m in maps]
    else:
        samples = [anchors.transpose(1, 2) for anchors in sampler(maps, sample_ids)]
    anchors = samples.pop(0) if any(after) else None
    results = [
        _project(layer, anchors) if is_late else samples.pop(0)
        for layer, is_late in zip(pair, after, strict=True)
    ]
    return results[0], results[-1]


def _project(layer: nn.Module | None, x: Tensor | None) -> Tensor:
    assert isinstance(layer, nn.Conv2d)
    assert x is not None
    return F.linear(x, to_matrix(layer), layer.bias)


def combine(
    layers: Layers,
    x: Tensor,
    left: Tensor,
    right: Tensor,
    front: Tensor | None,
    back: Tensor | None,
) -> Tensor:
    """Return W_o O + X, or the fusing layers' output for cat(W_o O, X).

    Args:
        layers: The layers of the block.
        x: (B, C, H, W).
        left: (B, N, R), see compute_factors.
        right: (B, R, C).
        front: F_1, if there is one.
        back: F_2, if there is one.

    Returns:
        (B, C, H, W).
    """
    assert isinstance(layers.output, nn.Conv2d)
    bias, flat = layers.output.bias, x.flatten(2)
    left, right = left.to(right.dtype), right.to(right.dtype)
    # Every product is made in the layout of x, so that neither a map nor its gradient is copied.
    rows = x.stride(1) == 1  # channels last
    if rows:
        flat = flat.transpose(1, 2)
    else:
        left, right = right.transpose(1, 2), left.transpose(1, 2)
    following: Iterable[nn.Module] = ()
    if layers.fuse is None or front is None or back is None:
        y = torch.baddbmm(flat, left, right)
        if bias is not None:
            y = y + (bias if rows else bias[:, None])
    else:
        conv, *following = layers.fuse
        assert isinstance(conv, nn.Conv2d)
        if bias is None or conv.bias is None:
            bias = conv.bias if bias is None else front @ bias
        else:
            bias = front @ bias + conv.bias
        y = torch.baddbmm(_fuse_map(flat, back, bias, rows), left, right)
    y = (y.transpose(1, 2) if rows else y).unflatten(2, x.shape[2:])
    for layer in following:
        y = layer(y)
    return y


def _fuse_map(flat: Tensor, back: Tensor, bias: Tensor | None, rows: bool) -> Tensor:
    """Return F_2 X and the bias, (B, N, C) of rows and otherwise (B, C, N)."""
    if rows:
        return F.linear(flat, back, bias)
    back = back.expand(flat.shape[0], -1, -1)
    return back @ flat if bias is None else torch.baddbmm(bias[:, None], back, flat)
