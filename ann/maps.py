"""A map with several users, in the fast form of a block."""

import torch
from torch import Tensor

from ann.functions import Add, Average, Project, ProjectAndAdd, layout, rows
from ann.sampling import Sampler


class Map:
    """A map and its users: `tensor` in the caller's memory layout, `laid` as its users want it.

    A user hands the map on to the next (see Project), and so takes `tensor` when its turn comes.
    """

    def __init__(self, x: Tensor, channels_last: bool = False) -> None:
        self.tensor = x
        wanted = torch.channels_last if channels_last else layout(x)
        self.laid = x.contiguous(memory_format=wanted)

    def project(self, weight: Tensor, bias: Tensor | None) -> Tensor:
        """A 1x1 convolution: weight (D, C, 1, 1) -> (B, D, H, W)."""
        dtype = self.tensor.dtype
        bias = None if bias is None else bias.to(dtype)
        weight = weight.flatten(1).to(dtype)
        y, self.tensor = Project.apply(self.tensor, self.laid.detach(), weight, bias)
        return y

    def sample(self, sampler: Sampler, keys: Tensor | None) -> Tensor:
        """The anchors (B, S, C)."""
        if sampler.sampling.endswith("average"):
            matrices = sampler.averaging(self.laid)
            averages, self.tensor = Average.apply(self.tensor, self.laid.detach(), *matrices)
            return sampler.levels(averages)
        return sampler([self.tensor], keys)[0].transpose(1, 2)

    def rows(self) -> Tensor:
        """(B, N, C)."""
        return rows(self.tensor.contiguous(memory_format=layout(self.laid)))

    def add(self, bias: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """The map itself, and bias and left right on top: (B, N, R), (B, R, C) -> (B, C, H, W)."""
        dtype = self.tensor.dtype
        y: Tensor = Add.apply(
            self.tensor, self.laid.detach(), bias.to(dtype), left, right.to(dtype)
        )
        return y

    def project_and_add(self, weight: Tensor, bias: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """A 1x1 convolution, and left right on top."""
        dtype = self.tensor.dtype
        return ProjectAndAdd.apply(
            self.tensor, self.laid.detach(), weight.to(dtype), bias.to(dtype), left, right.to(dtype)
        )
