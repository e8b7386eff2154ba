"""Batch norm and ReLU of the fast form, with a backward that keeps less."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ann.functions import channels_last, image, is_large, rows

CHUNK = 1 << 18  # elements: a few pieces in float32 stay in a CPU's cache


def normalize(norm: nn.Module, x: Tensor, relu: bool) -> Tensor:
    """Batch norm and ReLU; on a CPU and a large map with the backward that keeps less."""
    lean = type(norm) is nn.BatchNorm2d and norm.momentum is not None and norm.training
    if lean and x.device.type == "cpu" and is_large(x.numel()) and torch.is_grad_enabled():
        assert isinstance(norm, nn.BatchNorm2d)
        norm.get_buffer("num_batches_tracked").add_(1)
        return NormReLU.apply(channels_last(x), norm, relu, norm.weight, norm.bias)
    y: Tensor = norm(x)
    return F.relu_(y) if relu else y


class NormReLU(Function):
    """Training batch norm, and ReLU if asked, that keep only their input.

    x (B, C, H, W) -> the same shape; affine are the norm's weight and bias. The backward goes
    through the map in cache-sized pieces.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: nn.BatchNorm2d, relu: bool, *affine: Tensor) -> Tensor:
        running = norm.running_mean, norm.running_var
        y, mean, invstd = torch.ops.aten.native_batch_norm(
            x, *affine, *running, True, norm.momentum, norm.eps
        )
        ctx.relu = relu
        ctx.save_for_backward(x, mean, invstd, *affine)
        return y.relu_() if relu else y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, invstd, weight, bias = ctx.saved_tensors
        xs, gs = rows(x).flatten(0, 1), grad.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        slope = invstd * weight
        offset = bias - mean * slope

        def pieces(*matrices: Tensor) -> Any:
            return zip(*(m.split(max(1, CHUNK // x.shape[1])) for m in matrices), strict=True)

        def masked(piece: Tensor, g: Tensor) -> Tensor:
            g = g.to(slope.dtype)
            if not ctx.relu:
                return g
            return torch.ops.aten.threshold_backward(g, torch.addcmul(offset, piece, slope), 0)

        d_bias, dot = torch.zeros_like(mean), torch.zeros_like(mean)
        for piece, g in pieces(xs, gs):
            g = masked(piece, g)
            d_bias += g.sum(0)
            dot += (g * (piece - mean)).sum(0)
        d_weight = dot * invstd
        # d_x = slope (g - mean of g - x^ mean of g x^), gathered by the powers of x
        by_x = -slope * invstd * d_weight / len(xs)
        constant = -slope * d_bias / len(xs) - by_x * mean
        d_x = torch.empty_like(xs)
        for piece, g, out in pieces(xs, gs, d_x):
            out.copy_(torch.addcmul(constant, piece, by_x).addcmul_(masked(piece, g), slope))
        return image_like(d_x, x), None, None, d_weight, d_bias


def image_like(x: Tensor, like: Tensor) -> Tensor:
    """Rows (B N, C) as the map that `like` is."""
    return image(x.unflatten(0, (len(like), -1)), *like.shape[2:])
