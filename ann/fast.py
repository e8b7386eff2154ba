"""The fast form of a block: the same numbers as the plain form but for rounding, in less.

What it does is exact algebra:

- The value, and the key without a batch norm, is a 1x1 convolution and so commutes with averaging
  and picking: the map is sampled first, and the convolution sees S anchors, not N positions.
- cat(W_o O, X) is convolved by F = [F_1 F_2]: F_1 W_o O + F_2 X. F_1 W_o is folded into the S
  anchors, or into one matrix where there are many, so that nothing of size N x 2C is made.
- Without a softmax, (query^T key) value^T is query^T (key value^T) and no N x S matrix is made.
- Where N x S is large, the softmax is never held whole (scaled_dot_product_attention).

`costs` counts the multiply-adds of each way for the shapes at hand; the cheapest is taken.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ann.functions import is_large
from ann.maps import Map
from ann.norm import normalize

if TYPE_CHECKING:
    from ann.blocks import BlockOptions, NonLocalBlock


def forward(block: "NonLocalBlock", x: Tensor, source: Tensor, keys: Tensor | None) -> Tensor:
    """x (B, C, H, W); source, x itself or the low-level map -> (B, C, H, W), before dropout."""
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    with torch.autocast(device, enabled=False):  # the precision of each step is chosen here
        fused = block.fuse is not None  # then the copy to channels last pays
        high = Map(x.to(dtype), channels_last=fused)
        low = high if source is x else Map(source.to(dtype), channels_last=fused)
        query = Map(embed(block.query, high))
        key, value = key_and_value(block, query, low, keys)
        left, right = factors(block, query.rows(), key, value)
        return combine(block, high, left, right)


def embed(layer: nn.Module, x: Map) -> Tensor:
    """The query's, key's or value's embedding of a whole map."""
    if isinstance(layer, nn.Conv2d):
        return x.project(layer.weight, layer.bias)
    conv, norm, _ = layer.children()
    assert isinstance(conv, nn.Conv2d)
    return normalize(norm, x.project(conv.weight, conv.bias), relu=True)


def key_and_value(
    block: "NonLocalBlock", query: Map, source: Map, keys: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The anchors (B, S, K) and (B, S, V), or every position where nothing samples."""
    sampler = block.sampler

    def sampled(x: Map) -> Tensor:
        return x.rows() if sampler is None else x.sample(sampler, keys)

    # A convolution with nothing after it follows the sampling, where that is linear.
    late = sampler is not None and sampler.linear
    late_key = block.key if late and isinstance(block.key, nn.Conv2d) else None
    late_value = block.value if late else None
    anchors = None
    if late_key is not None or late_value is not None:
        anchors = sampled(source)
    if anchors is not None and late_key is not None:
        key = _linear(late_key, anchors)
    else:
        key = sampled(query if block.key is None else Map(embed(block.key, source)))
    if block.value is None:
        return key, key
    if anchors is not None and late_value is not None:
        return key, _linear(late_value, anchors)
    return key, sampled(Map(embed(block.value, source)))


def _linear(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return F.linear(x.to(layer.weight.dtype), layer.weight.flatten(1), layer.bias)


def costs(n: int, s: int, k: int, v: int, c: int, fused: bool) -> dict[str, int]:
    """Multiply-adds of the ways to W_o f(query^T key) value^T, and to F_1 of it where fused.

    n positions, s keys, k and v channels, c the output's. "anchors" folds W_o into the s values,
    "matrix" leaves the values as they are; "product" makes key value^T first, without a softmax.
    """
    matrix = c * c * v if fused else 0
    fold = s * v * c + min(s * c * c, matrix)
    return {
        "anchors": n * s * (k + c) + fold,
        "matrix": n * s * (k + v) + n * v * c + matrix,
        "product": n * k * c + s * k * c + fold,
    }


def cheapest(block: "NonLocalBlock", n: int, s: int, k: int, v: int) -> str:
    """The way that takes the fewest multiply-adds, of those that the block's options allow."""
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
    """Two matrices (B, N, R), (B, R, C) whose product is W_o O, or F_1 W_o O, without bias."""
    options = block.options
    n, s, channels = query.shape[1], key.shape[1], block.output.out_channels
    way = cheapest(block, n, s, key.shape[2], value.shape[2])
    scale = key.shape[2] ** -0.5 if options.scale else 1.0
    if options.normalization == "rescaling":
        scale /= s
    weight = block.output.weight.flatten(1)  # (C, V)
    front = None  # F_1
    if block.fuse is not None:
        front = block.fuse.get_parameter("0.weight")[:, :channels].flatten(1)
    if way == "matrix":
        folded = (weight if front is None else front @ weight).T.expand(len(query), -1, -1)
        return attend(query, key, value, scale, options), folded
    value = value.to(weight.dtype)
    if front is not None and s > value.shape[2]:
        value = F.linear(value, front @ weight)
    else:
        value = F.linear(value, weight)  # (B, S, C)
        value = value if front is None else F.linear(value, front)
    if way == "product":
        return query, (key.to(weight.dtype) * scale).transpose(1, 2) @ value
    return similarity(query, key, scale, options.normalization), value


def similarity(query: Tensor, key: Tensor, scale: float, normalization: str) -> Tensor:
    """f(query^T key), (B, N, S)."""
    key = (key * scale).to(query.dtype)
    scores = query @ key.transpose(1, 2)
    return scores.softmax(dim=2) if normalization == "softmax" else scores


def attend(
    query: Tensor, key: Tensor, value: Tensor, scale: float, options: "BlockOptions"
) -> Tensor:
    """O, (B, N, V); a softmax that is large, beside the maps as well, is never held whole."""
    value = value.to(query.dtype)
    s, width = key.shape[1], key.shape[2] + value.shape[2]
    large = is_large(query.shape[0] * query.shape[1] * s) and s > 4 * width  # else it is slower
    fused = options.form == "fused" or large or query.is_cuda
    if options.normalization != "softmax" or not fused:
        return similarity(query, key, scale, options.normalization) @ value
    q, k, v = (t.to(query.dtype).contiguous()[:, None] for t in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v, scale=scale)[:, 0]


def combine(block: "NonLocalBlock", x: Map, left: Tensor, right: Tensor) -> Tensor:
    """W_o O + X, or the fusing convolution of cat(W_o O, X) with its batch norm."""
    bias = block.output.bias
    assert bias is not None
    if block.fuse is None:
        return x.add(bias, left, right)
    conv, norm, *relu = block.fuse.children()
    assert isinstance(conv, nn.Conv2d)
    front, back = conv.weight.flatten(1).chunk(2, dim=1)  # F_1, F_2
    bias = front @ bias if conv.bias is None else front @ bias + conv.bias
    return normalize(norm, x.project_and_add(back, bias, left, right), relu=bool(relu))
