"""The plain form of a block: the paper's equations as they stand, the oracle of the fast form."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ann.blocks import NonLocalBlock


def attend(query: Tensor, key: Tensor, value: Tensor, normalization: str = "softmax") -> Tensor:
    """O = f(query^T key) value^T: equations 2 to 4 of the paper.

    query (B, K, N), key (B, K, S), value (B, V, S) -> (B, V, N).
    """
    similarity = query.transpose(1, 2) @ key  # (B, N, S)
    if normalization == "softmax":
        # Autocast would widen this N x S matrix, which the next product narrows again.
        device = "cpu" if similarity.is_meta else similarity.device.type  # meta has no autocast
        with torch.autocast(device, enabled=False):
            similarity = similarity.softmax(dim=2)
    elif normalization == "rescaling":
        similarity = similarity / similarity.shape[2]
    return (similarity @ value.transpose(1, 2)).transpose(1, 2)  # (B, N, V), channels last


def forward(block: "NonLocalBlock", x: Tensor, source: Tensor, keys: Tensor | None) -> Tensor:
    """x (B, C, H, W); source, x itself or the low-level map -> (B, C, H, W), before dropout."""
    query = block.query(x)
    key = query if block.key is None else block.key(source)
    value = None if block.value is None else block.value(source)
    query = query.flatten(2)  # (B, K, N)
    if block.options.scale:
        query = query * key.shape[1] ** -0.5
    maps = [key] if value is None else [key, value]
    sampled = block.sampler(maps, keys) if block.sampler else [m.flatten(2) for m in maps]
    context = attend(query, sampled[0], sampled[-1], block.options.normalization)  # (B, V, N)
    context = block.output(context.unflatten(2, x.shape[2:]))  # (B, C, H, W)
    if block.fuse is None:
        return context + x
    return block.fuse(torch.cat([context, x], dim=1))
