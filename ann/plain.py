"""The plain form of a block: the paper's equations as they stand, the oracle of the fast form."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ann.blocks import NonLocalBlock


def similarity(query: Tensor, key: Tensor, normalization: str = "softmax") -> Tensor:
    """V = f(query^T key): equations 2 and 3 of the paper. (B, K, N), (B, K, S) -> (B, N, S)."""
    product = query.transpose(1, 2) @ key
    if normalization == "softmax":
        # Autocast would widen this N x S matrix, which the next product narrows again.
        return product.softmax(dim=2, dtype=product.dtype)
    return product / product.shape[2] if normalization == "rescaling" else product


def attend(query: Tensor, key: Tensor, value: Tensor, normalization: str = "softmax") -> Tensor:
    """O = f(query^T key) value^T: equations 2 to 4 of the paper.

    query (B, K, N), key (B, K, S), value (B, V, S) -> (B, V, N).
    """
    weights = similarity(query, key, normalization)
    return (weights @ value.transpose(1, 2)).transpose(1, 2)  # (B, N, V), channels last


def embeddings(
    block: "NonLocalBlock", x: Tensor, source: Tensor, keys: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Query (B, K, N), scaled if the options say so, key (B, K, S) and value (B, V, S)."""
    query = block.query(x)
    key = query if block.key is None else block.key(source)
    value = None if block.value is None else block.value(source)
    query = query.flatten(2)
    if block.options.scale:
        query = query * key.shape[1] ** -0.5
    maps = [key] if value is None else [key, value]
    sampled = block.sampler(maps, keys) if block.sampler else [m.flatten(2) for m in maps]
    return query, sampled[0], sampled[-1]


def forward(block: "NonLocalBlock", x: Tensor, source: Tensor, keys: Tensor | None) -> Tensor:
    """x (B, C, H, W); source, x itself or the low-level map -> (B, C, H, W), before dropout."""
    query, key, value = embeddings(block, x, source, keys)
    context = attend(query, key, value, block.options.normalization)  # (B, V, N)
    context = block.output(context.unflatten(2, x.shape[2:]))  # (B, C, H, W)
    if block.fuse is None:
        return context + x
    return block.fuse(torch.cat([context, x], dim=1))
