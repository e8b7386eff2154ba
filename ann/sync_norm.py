"""Batch norm over the samples of all processes, on any device.

On CUDA it calls the kernels of PyTorch's nn.SyncBatchNorm. That module also filters out processes
without samples, for which the host waits in each layer. Here each process must have samples.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function


def synchronise(model: nn.Module) -> nn.Module:
    """Turn each batch norm of a model into one over all processes, in place, and return it."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncBatchNorm2d  # the same parameters, buffers and names
    return model


class SyncBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d over the samples of all processes, whose numbers may differ."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised map, (B, C, H, W)."""
        if not self.training:
            return super().forward(x)
        if x.is_cuda:
            y: Tensor = _CudaNorm.apply(x, self.weight, self.bias, *self._count_batch(), self.eps)
            return y
        # The mean first and then the variance, which avoids cancellation.
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x  # as PyTorch's
        own = wide.new_full((1,), x.numel() / x.shape[1])
        *sums, count = AllSum.apply(torch.cat([wide.sum((0, 2, 3)), own])).split([x.shape[1], 1])
        mean = sums[0] / count
        centred = wide - mean[:, None, None]
        variance = AllSum.apply(centred.square().sum((0, 2, 3))) / count
        running_mean, running_var, part = self._count_batch()
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.detach(), part)
            running_var.lerp_((variance * count / (count - 1)).detach(), part)
        y = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            y = y * self.weight[:, None, None] + self.bias[:, None, None]
        return y.to(x.dtype)

    def _count_batch(self) -> tuple[Tensor | None, Tensor | None, float]:
        """Return the running statistics, if there are any, and the part of this batch in them."""
        if not self.track_running_stats:
            return None, None, 0.0
        batches = self.get_buffer("num_batches_tracked").add_(1)
        part = 1 / float(batches) if self.momentum is None else self.momentum
        return self.get_buffer("running_mean"), self.get_buffer("running_var"), part


class _CudaNorm(Function):
    """The steps of nn.SyncBatchNorm's function, without its filter of empty processes."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: float,
        eps: float,
    ) -> Tensor:
        """Return the normalised map, and update the running statistics."""
        x = _make_dense(x)
        channels = x.shape[1]
        mean, invstd = torch.batch_norm_stats(x, eps)
        own = torch.cat([mean, invstd, mean.new_full((1,), x.numel() // channels)])
        all_own = own.new_empty(dist.get_world_size(), len(own))
        dist.all_gather_into_tensor(all_own, own)
        means, invstds, counts = all_own.split([channels, channels, 1], dim=1)
        mean, invstd = torch.batch_norm_gather_stats_with_counts(
            x, means, invstds, running_mean, running_var, momentum, eps, counts.flatten()
        )
        ctx.save_for_backward(x, weight, mean, invstd, counts.to(torch.int32))
        return torch.batch_norm_elemt(x, weight, bias, mean, invstd, eps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, weight and bias."""
        x, weight, mean, invstd, counts = ctx.saved_tensors
        grad, needed = _make_dense(grad), ctx.needs_input_grad[:3]
        sum_dy, sum_dy_xmu, grad_weight, grad_bias = torch.batch_norm_backward_reduce(
            grad, x, mean, invstd, weight, *needed
        )
        grad_x = None
        if needed[0]:
            sums = _sum_processes(torch.stack([sum_dy, sum_dy_xmu]))
            grad_x = torch.batch_norm_backward_elemt(
                grad, x, mean, invstd, weight, sums[0], sums[1], counts
            )
        return grad_x, grad_weight, grad_bias, None, None, None, None


def _make_dense(x: Tensor) -> Tensor:
    """Return x in one of the layouts that the kernels take."""
    return x if x.is_contiguous(memory_format=torch.channels_last) else x.contiguous()


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
