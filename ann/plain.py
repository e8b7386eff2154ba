"""The plain form of a block: the paper's equations as they stand.

The tests compare the fast form with it.
"""

import torch
from torch import Tensor

from ann.layers import Layers
from ann.recompute import keep_or_recompute


def similarity(query: Tensor, key: Tensor, normalization: str = "softmax") -> Tensor:
    """Return f(query^T key), equations 2 and 3 of the paper.

    Args:
        query: (B, K, N).
        key: (B, K, S).
        normalization: f, one of NORMALIZATIONS.

    Returns:
        (B, N, S).
    """
    product = query.transpose(1, 2) @ key
    if normalization == "softmax":
        # With its dtype named, autocast does not widen this N x S matrix.
        return product.softmax(dim=2, dtype=product.dtype)
    return product / product.shape[2] if normalization == "rescaling" else product


def attend(query: Tensor, key: Tensor, value: Tensor, normalization: str = "softmax") -> Tensor:
    """Return O = f(query^T key) value^T, equations 2 to 4 of the paper.

    Args:
        query: (B, K, N).
        key: (B, K, S).
        value: (B, V, S).
        normalization: f, one of NORMALIZATIONS.

    Returns:
        (B, V, N).
    """
    weights = similarity(query, key, normalization)
    return (weights @ value.transpose(1, 2)).transpose(1, 2)  # (B, N, V), channels last


def embed(
    layers: Layers, x: Tensor, source: Tensor, sample_ids: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return query, key and value.

    Args:
        layers: The layers of the block.
        x: (B, C, H, W).
        source: x itself, or the low-level map (B, C_l, h, w) of the fusion blocks.
        sample_ids: (B,) int64, from which random sampling draws.

    Returns:
        The query (B, K, N), scaled if the options say so, the key (B, K, S) and the value
        (B, V, S).
    """
    query = layers.query(x)
    key = query if layers.key is None else layers.key(source)
    value = None if layers.value is None else layers.value(source)
    query = query.flatten(2)
    if layers.options.scale:
        query = query * key.shape[1] ** -0.5
    maps = [key] if value is None else [key, value]
    sampled = layers.sampler(maps, sample_ids) if layers.sampler else [m.flatten(2) for m in maps]
    return query, sampled[0], sampled[-1]


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
    context = keep_or_recompute(_attend_to_source, layers, x, source, sample_ids)
    context = layers.output(context.unflatten(2, x.shape[2:]))  # (B, C, H, W)
    if layers.fuse is None:
        return context + x
    return layers.fuse(torch.cat([context, x], dim=1))


def _attend_to_source(
    layers: Layers, x: Tensor, source: Tensor, sample_ids: Tensor | None
) -> Tensor:
    """Return O, (B, V, N)."""
    return attend(*embed(layers, x, source, sample_ids), layers.options.normalization)
