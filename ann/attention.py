"""What a position attends to: rows of V = f(query^T key), to look at.

A prediction never makes V as a whole (ann.fast); here are only the rows that are asked for, by the
paper's equations as they stand (ann.plain).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ann import plain
from ann.blocks import NonLocalBlock
from ann.network import SegmentationNetwork


class Attention(NamedTuple):
    """weights (B, Q, S) of the queries; `boxes` (S, 4) tell where each key lies.

    A box is top, bottom, left and right on the map of `size` (height, width) that key and value
    come from: a bin of the sampler, or one position.
    """

    weights: Tensor
    boxes: Tensor
    size: tuple[int, int]

    def spread(self) -> Tensor:
        """(B, Q, H, W): the weight of each position, a box's shared evenly by its positions.

        With average sampling this is exactly what each position's value is weighted by.
        """
        areas = (self.boxes[:, 1] - self.boxes[:, 0]) * (self.boxes[:, 3] - self.boxes[:, 2])
        made = self.weights.new_zeros(*self.weights.shape[:2], *self.size)
        shares = self.weights / areas.to(self.weights)
        for i, (top, bottom, left, right) in enumerate(self.boxes.tolist()):
            made[:, :, top:bottom, left:right] += shares[:, :, i, None, None]
        return made


def attention(
    block: NonLocalBlock,
    x: Tensor,
    low: Tensor | None = None,
    keys: Tensor | None = None,
    *,
    queries: Sequence[int] | None = None,
) -> Attention:
    """V of a block for its maps: x (B, C, H, W), and low (B, C_l, h, w) in the fusion blocks.

    queries: positions of x, row * W + column; all N if not given, and then V is held whole.
    """
    source = x if low is None else low
    query, key, _ = plain.embeddings(block, x, source, keys)
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
    """The non-local blocks of a network by where they stand, `fusion` and `context`."""
    found = {"fusion": network.fusion, "context": network.context}
    return {name: b for name, b in found.items() if isinstance(b, NonLocalBlock)}


@torch.inference_mode()
def network_attention(
    network: SegmentationNetwork, images: Tensor, point: tuple[float, float]
) -> dict[str, Attention]:
    """What one point of the images (B, 3, H, W) attends to in each non-local block of a network.

    point: from the top and from the left, each a part of the side in [0, 1).
    """
    found: dict[str, Attention] = {}

    def look(name: str, block: NonLocalBlock, x: Tensor, low: Tensor | None = None) -> None:
        height, width = x.shape[2:]
        query = int(point[0] * height) * width + int(point[1] * width)
        found[name] = attention(block, x, low, queries=[query])

    hooks = [
        block.register_forward_pre_hook(
            lambda module, given, name=name: look(name, module, *given[:2])
        )
        for name, block in attention_blocks(network).items()
    ]
    try:
        network(images.to(network.mean.device))
    finally:
        for hook in hooks:
            hook.remove()
    return found
