"""Measure what a fusion block passes on, and what a score owes to it.

A fusion block ends in a convolution over cat(W_o(O), X), or in W_o(O) + X. Three things are
measured: how much of the sum comes from the context W_o(O), how far the context differs between the
places of an image, and what the score loses if it does not.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ann import NonLocalBlock, plain

Change = Callable[[Tensor], Tensor]


@dataclass
class Moments:
    """Mean and variance of the channels of a map over positions of many images."""

    count: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.float64))
    squares: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.float64))
    image_squares: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.float64))

    def add(self, values: Tensor) -> None:
        """Add maps (B, C, H, W)."""
        values = values.double().flatten(2)
        positions = values.shape[2]
        self.count += len(values) * positions
        self.total = self.total + values.sum((0, 2))
        self.squares = self.squares + values.square().sum((0, 2))
        self.image_squares = self.image_squares + positions * values.mean(2).square().sum(0)

    @property
    def mean(self) -> Tensor:
        return self.total / self.count

    @property
    def variance(self) -> Tensor:
        return self.squares / self.count - self.mean.square()

    @property
    def variance_within(self) -> Tensor:
        """The part of the variance that is within images and not between them."""
        return (self.squares - self.image_squares) / self.count


@dataclass
class FusionUse:
    """What was seen in a fusion block.

    Attributes:
        context: Moments of W_o(O), (C,).
        from_context: Moments of its part of the block's sum, before batch norm.
        from_map: The same of X's part.
        scale: What batch norm multiplies the sum's channels with.
        entropy: The sum of the attention's entropies over positions, in nats.
        positions: Their number.
    """

    scale: Tensor
    context: Moments = field(default_factory=Moments)
    from_context: Moments = field(default_factory=Moments)
    from_map: Moments = field(default_factory=Moments)
    entropy: float = 0.0
    positions: int = 0

    @property
    def ratio(self) -> float:
        """The standard deviation of the context's part over that of X's part."""
        parts = self.from_context.variance, self.from_map.variance
        context, own_map = map(self._weigh, parts)
        return float((context / own_map).sqrt())

    @property
    def within(self) -> float:
        """The part of the variance of the context's part that is within images, from 0 to 1."""
        whole = self._weigh(self.from_context.variance)
        within = self._weigh(self.from_context.variance_within)
        return float(within / whole) if whole else float("nan")

    def _weigh(self, variance: Tensor) -> Tensor:
        """Return the variance, summed over the channels after batch norm."""
        return (self.scale.double().square() * variance).sum()

    @property
    def anchors_used(self) -> float:
        """The number of positions with equal weights that have the mean entropy."""
        return float(torch.tensor(self.entropy / self.positions).exp())


@contextmanager
def observe(block: NonLocalBlock) -> Iterator[FusionUse]:
    """Collect what a fusion block computes in the calls within.

    Args:
        block: FNB or AFNB with a softmax, in evaluation mode and in the plain form.
    """
    channels, use = block.channels, FusionUse(_find_scale(block))
    weight: Any = None if block.fuse is None else block.fuse[0].weight
    inputs: dict[str, Tensor] = {}

    def before(_: nn.Module, args: tuple[Any, ...]) -> None:
        x, low = args[0], args[1]
        query, key, _value = plain.embed(block.get_layers(), x, low, None)
        weights = plain.similarity(query, key)
        use.entropy += float(torch.special.entr(weights.detach().double()).sum())
        use.positions += weights.shape[0] * weights.shape[1]
        inputs["x"] = x

    def after(_: nn.Module, __: Any, context: Tensor) -> None:
        use.context.add(context)
        parts = [context, inputs["x"]]
        if weight is not None:
            halves = weight.split(channels, dim=1)
            parts = [nn.functional.conv2d(p, w) for p, w in zip(parts, halves, strict=True)]
        use.from_context.add(parts[0])
        use.from_map.add(parts[1])

    handles = [block.register_forward_pre_hook(before), block.output.register_forward_hook(after)]
    try:
        yield use
    finally:
        for handle in handles:
            handle.remove()


def _find_scale(block: NonLocalBlock) -> Tensor:
    """Return what the batch norm after the fusing convolution multiplies with, (C,)."""
    if block.fuse is None:
        return torch.ones(block.channels)
    norm: Any = block.fuse[1]
    return (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()


@contextmanager
def replace_context(block: NonLocalBlock, change: Change) -> Iterator[None]:
    """Replace W_o(O), (B, C, H, W), by another map of the same size in the calls within."""
    handle = block.output.register_forward_hook(lambda _module, _inputs, context: change(context))
    try:
        yield
    finally:
        handle.remove()


def take_image_mean(context: Tensor) -> Tensor:
    """Return the context's mean over each image at all its positions."""
    return context.mean((2, 3), keepdim=True).expand_as(context)
