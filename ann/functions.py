"""Operations of the fast form with a backward of their own, for what autograd would keep or copy.

A map is a matrix of N rows, one a position; in channels-last memory its rows are contiguous.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ann.sampling import average

PART = 1 << 11  # rows of a map
LARGE = 1 << 20  # elements: a map or a similarity beyond it leaves a CPU's cache


def is_large(elements: int) -> bool:
    return elements > LARGE


def rows(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, N, C), a view."""
    if layout(x) is torch.channels_last:
        return x.permute(0, 2, 3, 1).flatten(1, 2)
    return x.flatten(2).transpose(1, 2)


def image(x: Tensor, height: int, width: int) -> Tensor:
    """(B, N, C) -> (B, C, H, W), a view."""
    return x.unflatten(1, (height, width)).permute(0, 3, 1, 2)


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def layout(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 1x1 convolution in the map's precision: x (B, C, H, W), weight (D, C) -> (B, D, H, W)."""
    bias = None if bias is None else bias.to(x.dtype)
    return F.conv2d(x, weight.to(x.dtype)[:, :, None, None], bias)


class Project(Function):
    """A 1x1 convolution, and its input once more for the next user of it.

    The gradient of that next user comes back here and takes this one's on top, in place, so that
    the gradients of one map with several users are never there side by side. Call `project`.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, laid: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, weight)
        ctx.has_bias, ctx.layout = bias is not None, layout(laid)
        return convolve(laid, weight, bias), x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, rest: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=ctx.layout)
        d_weight, d_bias = parameters(x, grad, ctx.has_bias)
        if not ctx.needs_input_grad[0]:
            return None, None, d_weight, d_bias
        if rest is None:
            return convolve(grad, weight.T), None, d_weight, d_bias
        total = rest.contiguous(memory_format=ctx.layout)
        rows(total).baddbmm_(rows(grad), weight.expand(len(x), -1, -1))
        return total, None, d_weight, d_bias


class Average(Function):
    """`ann.sampling.average`, and its input once more for the next user of it, as in Project."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, laid: Tensor, down: Tensor, across: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(down, across)
        ctx.shape, ctx.layout = x.shape, layout(laid)
        return average(laid, down, across), x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, rest: Tensor | None) -> tuple[Tensor | None, ...]:
        down, across = ctx.saved_tensors
        columns = (down.T @ grad.flatten(2)).unflatten(2, grad.shape[2:]).flatten(0, 1)
        batch, height = ctx.shape[0], ctx.shape[2]
        rest = grad.new_zeros(ctx.shape) if rest is None else rest
        total = rest.contiguous(memory_format=ctx.layout)
        total = total.permute(0, 2, 3, 1).flatten(0, 1)  # (B H, W, C)
        total = total.baddbmm_(across.T.expand(len(total), -1, -1), columns)
        return total.unflatten(0, (batch, height)).permute(0, 3, 1, 2), None, None, None


class Add(Function):
    """X + bias + left right, in X's memory layout.

    x (B, C, H, W), bias (C,), left (B, N, R), right (B, R, C) -> (B, C, H, W).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, laid: Tensor, bias: Tensor, left: Tensor, right: Tensor
    ) -> Tensor:
        ctx.save_for_backward(left, right)
        ctx.layout = layout(laid)
        if ctx.layout is torch.channels_last:
            return image(torch.baddbmm(rows(laid), left, right).add_(bias), *x.shape[2:])
        y = torch.baddbmm(laid.flatten(2), right.transpose(1, 2), left.transpose(1, 2))
        return y.add_(bias[:, None]).view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        left, right = ctx.saved_tensors
        # A copy, for the functions above add to it, and others may hold this gradient too.
        grad = grad.clone(memory_format=ctx.layout)
        g = rows(grad)
        d_left, d_right = g @ right.transpose(1, 2), left.transpose(1, 2) @ g
        return grad, None, g.sum((0, 1)), d_left, d_right


class ProjectAndAdd(Function):
    """weight X + bias + left right in one map of size N x D, with nothing else of that size.

    x (B, C, H, W), weight (D, C), bias (D,), left (B, N, R), right (B, R, D) -> (B, D, H, W).
    `laid` is x in channels-last memory; x itself is what backward keeps. D is C.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, laid: Tensor, weight: Tensor, bias: Tensor, left: Tensor, right: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, weight, left, right)
        y = rows(channels_last(convolve(laid, weight, bias)))
        return image(y.baddbmm_(left, right), *x.shape[2:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, left, right = ctx.saved_tensors
        grad = channels_last(grad)
        g = rows(grad)
        d_left = g @ right.transpose(1, 2)
        d_right = left.transpose(1, 2) @ g
        d_weight, d_bias = parameters(x, grad, True)
        # The norm's backward made `grad` for this function alone: its memory becomes d_x's.
        transposed = weight.T.contiguous()
        lines = grad.permute(0, 2, 3, 1).flatten(0, 1)  # (B H, W, C)
        for part in lines.split(max(1, PART // lines.shape[1])):
            part.copy_(convolve(part.permute(2, 0, 1)[None], transposed)[0].permute(1, 2, 0))
        return grad, None, d_weight, d_bias, d_left, d_right


def parameters(x: Tensor, grad: Tensor, has_bias: bool) -> tuple[Tensor, Tensor | None]:
    """The gradients of a 1x1 convolution's weight and bias; x in any layout."""
    g = rows(grad)
    if x.is_contiguous(memory_format=torch.channels_last):
        d_weight = g.flatten(0, 1).T @ rows(x).flatten(0, 1)
    else:
        d_weight = (x.flatten(2) @ g).sum(0).T
    return d_weight, g.sum((0, 1)) if has_bias else None
