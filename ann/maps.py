"""A map with several users, in the fast form of a block."""

from torch import Tensor

from ann.functions import Average, Project, ProjectAndAdd, channels_last, rows
from ann.sampling import Sampler


class Map:
    """A map and its users: `tensor` in the caller's layout, `last` the same in channels last.

    A user hands the map on to the next (see Project), and so takes `tensor` when its turn comes.
    """

    def __init__(self, x: Tensor) -> None:
        self.tensor = x
        self.last = channels_last(self.tensor)

    def project(self, weight: Tensor, bias: Tensor | None) -> Tensor:
        """A 1x1 convolution: weight (D, C, 1, 1) -> (B, D, H, W)."""
        dtype = self.tensor.dtype
        bias = None if bias is None else bias.to(dtype)
        weight = weight.flatten(1).to(dtype)
        y, self.tensor = Project.apply(self.tensor, self.last.detach(), weight, bias)
        return y

    def sample(self, sampler: Sampler, keys: Tensor | None) -> Tensor:
        """The anchors (B, S, C)."""
        if sampler.sampling.endswith("average"):
            matrices = sampler.averaging(self.last)
            averages, self.tensor = Average.apply(self.tensor, self.last.detach(), *matrices)
            return sampler.levels(averages)
        return sampler([self.tensor], keys)[0].transpose(1, 2)

    def rows(self) -> Tensor:
        """(B, N, C)."""
        return rows(channels_last(self.tensor))

    def project_and_add(self, weight: Tensor, bias: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """The same, and left right on top."""
        dtype = self.tensor.dtype
        return ProjectAndAdd.apply(
            self.tensor, self.last.detach(), weight.to(dtype), bias.to(dtype), left, right.to(dtype)
        )
