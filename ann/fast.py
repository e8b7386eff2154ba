"""The fast form of a block: the plain form's result up to rounding, with less time and memory.

It is exact algebra in plain PyTorch operations:

- A 1x1 convolution commutes with averaging and picking. So the map is sampled first, and the value
  (and the key, where no batch norm follows it) is computed for S anchors instead of N positions.
- The fusing convolution F = [F_1 F_2] of cat(W_o O, X) is F_1 W_o O + F_2 X. F_1 W_o is folded into
  the S anchors, or into one matrix where S is large, so that nothing of size N x 2C is made.
- Without a softmax, (query^T key) value^T is query^T (key value^T), and no N x S matrix is made.
- Where N x S is large, scaled_dot_product_attention never holds the whole softmax.

`costs` counts the multiply-adds of each way, and the cheapest is taken.

The folding reads the weights of `output` and `fuse.0` and does not call these layers. Where one of
them is no longer the plain layer it was made as, the block computes the plain form and warns once.
"""

import warnings
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ann import plain
from ann.layers import changed_layer, is_plain, is_projection
from ann.sampling import Sampler

if TYPE_CHECKING:
    from ann.blocks import NonLocalBlock

LARGE = 1 << 18  # elements of an N x S matrix that no longer fits a CPU's cache


def forward(block: "NonLocalBlock", x: Tensor, source: Tensor, keys: Tensor | None) -> Tensor:
    """Return the block's map before dropout.

    Args:
        block: The block whose layers and options are used.
        x: (B, C, H, W).
        source: x itself, or the low-level map (B, C_l, h, w) of the fusion blocks.
        keys: (B,) int64, what random sampling draws from.

    Returns:
        (B, C, H, W).
    """
    changed = changed_layer(block)
    if changed is not None:
        if not torch.compiler.is_compiling():
            warnings.warn(
                f"NonLocalBlock computes the plain form because its layer {changed} has a hook or "
                f"is not the layer it was made as; form='plain' does the same without this warning",
                stacklevel=3,
            )
        return plain.forward(block, x, source, keys)
    same = source is x
    if block.fuse is not None:  # its rows are then contiguous for the products
        x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # vmap knows no channels last
    source = x if same else source
    query = block.query(x)
    key, value = key_and_value(block, query, source, keys)
    left, right = factors(block, rows(query), key, value)
    return combine(block, x, left, right)


def rows(x: Tensor) -> Tensor:
    """View a map (B, C, H, W) as one row a position, (B, N, C)."""
    return x.flatten(2).transpose(1, 2)


def key_and_value(
    block: "NonLocalBlock", query: Tensor, source: Tensor, keys: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return key (B, S, K) and value (B, S, V); S is every position where nothing samples."""
    layers = [block.key] if block.value is None else [block.key, block.value]
    sampler = block.sampler
    late = isinstance(sampler, Sampler) and is_plain(sampler, Sampler) and sampler.linear
    after = [late and is_projection(layer) for layer in layers]
    maps = [source.to(query.dtype)] if any(after) else []
    for layer, is_late in zip(layers, after, strict=True):
        if not is_late:
            maps.append(query if layer is None else layer(source))
    if sampler is None:
        found = [rows(m) for m in maps]
    else:
        found = [anchors.transpose(1, 2) for anchors in sampler(maps, keys)]
    anchors = found.pop(0) if any(after) else None
    results = [
        _project(layer, anchors) if is_late else found.pop(0)
        for layer, is_late in zip(layers, after, strict=True)
    ]
    return results[0], results[-1]


def _project(layer: nn.Module | None, x: Tensor | None) -> Tensor:
    assert isinstance(layer, nn.Conv2d)
    assert x is not None
    return F.linear(x, layer.weight.flatten(1), layer.bias)


def costs(n: int, s: int, k: int, v: int, c: int, fused: bool) -> dict[str, int]:
    """Count the multiply-adds of the ways to W_o f(query^T key) value^T, and F_1 of it if fused.

    Args:
        n: Positions.
        s: Keys.
        k: Channels of query and key.
        v: Channels of the value.
        c: Channels of the output.
        fused: Whether a fusing convolution follows.

    Returns:
        "anchors" folds W_o into the s values, "matrix" leaves the values as they are, and "product"
        computes key value^T first, which needs a block without a softmax.
    """
    matrix = c * c * v if fused else 0
    fold = s * v * c + min(s * c * c, matrix)
    return {
        "anchors": n * s * (k + c) + fold,
        "matrix": n * s * (k + v) + n * v * c + matrix,
        "product": n * k * c + s * k * c + fold,
    }


def cheapest(block: "NonLocalBlock", n: int, s: int, k: int, v: int) -> str:
    """Return the way with the fewest multiply-adds that the block's options allow."""
    if block.options.form == "fused":
        return "matrix"
    cost = costs(n, s, k, v, block.output.out_channels, block.fuse is not None)
    if block.options.normalization == "softmax":
        del cost["product"]
        if block.sampler is None:
            del cost["anchors"]  # it holds the whole N x N matrix
    return min(cost, key=lambda name: cost[name])


def factors(
    block: "NonLocalBlock", query: Tensor, key: Tensor, value: Tensor
) -> tuple[Tensor, Tensor]:
    """Return (B, N, R) and (B, R, C), whose product is W_o O, or F_1 W_o O, without the bias."""
    options = block.options
    n, s, channels = int(query.shape[1]), int(key.shape[1]), block.output.out_channels
    way = cheapest(block, n, s, int(key.shape[2]), int(value.shape[2]))
    scale = key.shape[2] ** -0.5 if options.scale else 1.0
    if options.normalization == "rescaling":
        scale /= s
    weight = block.output.weight.flatten(1)  # (C, V)
    front = None  # F_1
    if block.fuse is not None:
        fusing = block.fuse[0]
        assert isinstance(fusing, nn.Conv2d)
        front = fusing.weight[:, :channels].flatten(1)
    if way == "matrix":
        folded = weight if front is None else front @ weight
        large = n * s > LARGE and s > 4 * (key.shape[2] + value.shape[2])  # else it is slower
        fused = options.form == "fused" or large or query.is_cuda
        if options.normalization == "softmax" and fused:
            left = fused_attention(query, key, value, scale)
        else:
            left = similarity(query, key, scale, options.normalization) @ value.to(query.dtype)
        return left, folded.T.expand(
            query.shape[0], -1, -1
        )  # len() would fix the batch of an export
    if front is not None and s > value.shape[2]:
        value = F.linear(value, front @ weight)
    else:
        value = F.linear(value, weight)  # (B, S, C)
        value = value if front is None else F.linear(value, front)
    if way == "product":
        return query, (key * scale).transpose(1, 2) @ value
    return similarity(query, key, scale, options.normalization), value


def similarity(query: Tensor, key: Tensor, scale: float, normalization: str) -> Tensor:
    """Return f(query^T key), (B, N, S)."""
    scores = query @ (key * scale).to(query.dtype).transpose(1, 2)
    # With its dtype named, autocast does not widen this N x S matrix.
    return scores.softmax(dim=2, dtype=scores.dtype) if normalization == "softmax" else scores


def fused_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Return O (B, N, V) by scaled_dot_product_attention, which has no second derivative."""
    q, k, v = (t.to(query.dtype).contiguous()[:, None] for t in (query, key, value))
    out = F.scaled_dot_product_attention(q, k, v, scale=scale)[:, 0]
    if out.requires_grad and not torch.compiler.is_compiling():
        out.register_hook(_refuse_second_derivative)
    return out


def _refuse_second_derivative(grad: Tensor) -> None:
    if torch.is_grad_enabled():  # create_graph=True
        raise RuntimeError(
            "fused attention has no second derivative; use BlockOptions(form='plain') for "
            "create_graph=True"
        )


def combine(block: "NonLocalBlock", x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return W_o O + X, or the fusing layers' output for cat(W_o O, X): (B, C, H, W)."""
    bias, size = block.output.bias, x.shape[2:]
    left, right = left.to(right.dtype), right.to(right.dtype)
    if block.fuse is None:
        y = torch.baddbmm(x.flatten(2), right.transpose(1, 2), left.transpose(1, 2))
        return (y if bias is None else y + bias[:, None]).unflatten(2, size)
    conv, *layers = block.fuse
    assert isinstance(conv, nn.Conv2d)
    front, back = conv.weight.flatten(1).chunk(2, dim=1)  # F_1, F_2
    if bias is None or conv.bias is None:
        bias = conv.bias if bias is None else front @ bias
    else:
        bias = front @ bias + conv.bias
    y = torch.baddbmm(F.linear(rows(x), back, bias), left, right)
    y = y.transpose(1, 2).unflatten(2, size)
    for layer in layers:
        y = layer(y)
    return y
