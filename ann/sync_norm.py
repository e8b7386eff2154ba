"""Batch norm over the samples of all processes, on any device."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function


def synchronise(model: nn.Module, device: str) -> nn.Module:
    """Return the model with batch norm over all processes.

    Args:
        model: Its batch norms are changed in place, or copied on CUDA.
        device: PyTorch's own SyncBatchNorm is used on "cuda", and SyncBatchNorm2d elsewhere.
    """
    if device == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return converted
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncBatchNorm2d  # the same parameters, buffers and names
    return model


class SyncBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d over the samples of all processes, whose numbers may differ.

    It computes the mean first and then the variance, which avoids cancellation.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised map, (B, C, H, W)."""
        if not self.training:
            return super().forward(x)
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x  # as PyTorch's
        own = wide.new_full((1,), x.numel() / x.shape[1])
        *sums, count = AllSum.apply(torch.cat([wide.sum((0, 2, 3)), own])).split([x.shape[1], 1])
        mean = sums[0] / count
        centred = wide - mean[:, None, None]
        variance = AllSum.apply(centred.square().sum((0, 2, 3))) / count
        if self.track_running_stats:
            self._track(mean.detach(), (variance * count / (count - 1)).detach())
        y = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            y = y * self.weight[:, None, None] + self.bias[:, None, None]
        return y.to(x.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        batches = self.get_buffer("num_batches_tracked").add_(1)
        part = 1 / float(batches) if self.momentum is None else self.momentum
        self.get_buffer("running_mean").lerp_(mean, part)
        self.get_buffer("running_var").lerp_(variance, part)


class AllSum(Function):
    """The sum over all processes, in both directions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return the sum of all processes' x."""
        return _sum_processes(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Return the sum of all processes' gradients."""
        return _sum_processes(grad)


def _sum_processes(x: Tensor) -> Tensor:
    total = x.clone()
    dist.all_reduce(total)
    return total
