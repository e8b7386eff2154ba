"""What a position attends to: rows of V = f(query^T key), to look at.

A prediction never makes V as a whole (ann.fast). This module computes only the rows that are asked
for, by the paper's equations as they stand (ann.plain).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ann import plain
from ann.blocks import NonLocalBlock
from ann.network import SegmentationNetwork


class Attention(NamedTuple):
    """The weights of a block's queries, and where its keys lie.

    Attributes:
        weights: (B, Q, S).
        boxes: (S, 4), top, bottom, left and right of each key on the map that key and value come
            from: a bin of the sampler, or one position.
        size: Height and width of that map.
    """

    weights: Tensor
    boxes: Tensor
    size: tuple[int, int]

    def spread(self) -> Tensor:
        """Return the weight of each position, where the positions of a box share its weight evenly.

        With average sampling this is exactly the weight of each position's value.

        Returns:
            (B, Q, H, W), of the map that key and value come from.
        """
        areas = (self.boxes[:, 1] - self.boxes[:, 0]) * (self.boxes[:, 3] - self.boxes[:, 2])
        positions = self.weights.new_zeros(*self.weights.shape[:2], *self.size)
        shares = self.weights / areas.to(self.weights)
        for i, (top, bottom, left, right) in enumerate(self.boxes.tolist()):
            positions[:, :, top:bottom, left:right] += shares[:, :, i, None, None]
        return positions


def attention(
    block: NonLocalBlock,
    x: Tensor,
    low: Tensor | None = None,
    sample_ids: Tensor | None = None,
    *,
    queries: Sequence[int] | None = None,
) -> Attention:
    """Return the rows of a block's matrix f(query^T key), the paper's V.

    Args:
        block: The block.
        x: (B, C, H, W).
        low: (B, C_l, h, w), in the fusion blocks only.
        sample_ids: (B,) int64, from which random sampling draws.
        queries: Positions of x, each row * W + column. None stands for all N, and then
            the whole N x S matrix is in memory.
    """
    source = x if low is None else low
    query, key, _ = plain.embed(block.get_layers(), x, source, sample_ids)
    if queries is not None:
        query = query[:, :, list(queries)]
    height, width = source.shape[2:]
    weights = plain.similarity(query, key, block.options.normalization)
    if block.sampler is not None:
        boxes = block.sampler.boxes(height, width)
    else:
        row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        boxes = torch.stack([row, row + 1, column, column + 1], dim=-1).flatten(0, 1)
    return Attention(weights, boxes, (height, width))


def attention_blocks(network: SegmentationNetwork) -> dict[str, NonLocalBlock]:
    """Return the non-local blocks of a network by their place, `fusion` or `context`."""
    places = {"fusion": network.fusion, "context": network.context}
    return {name: b for name, b in places.items() if isinstance(b, NonLocalBlock)}


@torch.inference_mode()
def network_attention(
    network: SegmentationNetwork, images: Tensor, point: tuple[float, float]
) -> dict[str, Attention]:
    """Return what one point of the images attends to in each non-local block of a network.

    Args:
        network: The network, in evaluation.
        images: (B, 3, H, W), RGB in 0..255.
        point: The distance from the top and from the left, each a part of the side in [0, 1).

    Returns:
        The attention of one query by the place of its block.
    """
    results: dict[str, Attention] = {}

    def look(name: str, block: NonLocalBlock, x: Tensor, low: Tensor | None = None) -> None:
        height, width = x.shape[2:]
        query = int(point[0] * height) * width + int(point[1] * width)
        results[name] = attention(block, x, low, queries=[query])

    hooks = [
        block.register_forward_pre_hook(
            lambda module, inputs, name=name: look(name, module, *inputs[:2])
        )
        for name, block in attention_blocks(network).items()
    ]
    try:
        network(images.to(network.mean.device))
    finally:
        for hook in hooks:
            hook.remove()
    return results
