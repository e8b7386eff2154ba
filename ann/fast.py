"""The fast form of a block: the plain form's result up to rounding, with less time and memory.

It is exact algebra in PyTorch's own operations:

- A 1x1 convolution commutes with averaging and picking. So the map is sampled first. The value, and
  the key where no batch norm follows it, is then computed for S anchors instead of N positions.
- The fusing convolution F = [F_1 F_2] of cat(W_o O, X) is F_1 W_o O + F_2 X. F_1 W_o is folded into
  the S anchors, or into one matrix where S is large. So nothing of size N x 2C is made.
- Without a softmax, (query^T key) value^T is query^T (key value^T), and no N x S matrix is made.
- Where N x S is large, scaled_dot_product_attention never holds the whole softmax.

ann.orders counts the multiply-adds of each order of products, and the cheapest is taken.

The folding reads the weights of `output` and `fuse.0` and does not call these layers. If somebody
has modified one of them, the block computes the plain form and warns once.
"""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ann import plain
from ann.fused import attend_fused
from ann.layers import Layers, find_modified_layer, is_projection, is_unmodified
from ann.orders import choose_order
from ann.sampling import Sampler

LARGE = 1 << 18  # elements of an N x S matrix that no longer fits a CPU's cache


def forward(layers: Layers, x: Tensor, source: Tensor, sample_ids: Tensor | None) -> Tensor:
    """Return the block's map before dropout.

    Args:
        layers: The layers of the block.
        x: (B, C, H, W).
        source: x itself, or the low-level map (B, C_l, h, w) of the fusion blocks.
        sample_ids: (B,) int64, from which random sampling draws.

    Returns:
        (B, C, H, W).
    """
    modified = find_modified_layer(layers)
    if modified is not None:
        if not torch.compiler.is_compiling():
            warnings.warn(
                f"NonLocalBlock computes the plain form because its layer {modified} has a hook or "
                f"is not the layer it was made as; form='plain' does the same without this warning",
                stacklevel=3,
            )
        return plain.forward(layers, x, source, sample_ids)
    same = source is x
    if layers.fuse is not None:  # its rows are then contiguous for the products
        x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # vmap knows no channels last
    source = x if same else source
    query = layers.query(x)
    key, value = compute_key_and_value(layers, query, source, sample_ids)
    left, right = compute_factors(layers, to_rows(query), key, value)
    return combine(layers, x, left, right)


def to_rows(x: Tensor) -> Tensor:
    """View a map (B, C, H, W) as one row a position, (B, N, C)."""
    return x.flatten(2).transpose(1, 2)


def compute_key_and_value(
    layers: Layers, query: Tensor, source: Tensor, sample_ids: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the key (B, S, K) and the value (B, S, V).

    Args:
        layers: The layers of the block.
        query: (B, K, H, W), also the key where the block has no layer of its own for it.
        source: (B, C, H, W) or (B, C_l, h, w).
        sample_ids: (B,) int64, from which random sampling draws.
    """
    pair = [layers.key] if layers.value is None else [layers.key, layers.value]
    sampler = layers.sampler
    late = isinstance(sampler, Sampler) and is_unmodified(sampler, Sampler) and sampler.linear
    after = [late and is_projection(layer) for layer in pair]  # the layer follows the sampling
    maps = [source.to(query.dtype)] if any(after) else []
    for layer, is_late in zip(pair, after, strict=True):
        if not is_late:
            maps.append(query if layer is None else layer(source))
    if sampler is None:
        samples = [to_rows(m) for m in maps]
    else:
        samples = [anchors.transpose(1, 2) for anchors in sampler(maps, sample_ids)]
    anchors = samples.pop(0) if any(after) else None
    results = [
        _project(layer, anchors) if is_late else samples.pop(0)
        for layer, is_late in zip(pair, after, strict=True)
    ]
    return results[0], results[-1]


def _project(layer: nn.Module | None, x: Tensor | None) -> Tensor:
    assert isinstance(layer, nn.Conv2d)
    assert x is not None
    return F.linear(x, layer.weight.flatten(1), layer.bias)


def compute_factors(
    layers: Layers, query: Tensor, key: Tensor, value: Tensor
) -> tuple[Tensor, Tensor]:
    """Return two matrices whose product is W_o O, or F_1 W_o O, without the bias.

    Args:
        layers: The layers of the block.
        query: (B, N, K).
        key: (B, S, K).
        value: (B, S, V).

    Returns:
        (B, N, R) and (B, R, C), where R is S, V or K by the order of the products.
    """
    options, output = layers.options, layers.output
    assert isinstance(output, nn.Conv2d)
    n, s, channels = int(query.shape[1]), int(key.shape[1]), output.out_channels
    order = choose_order(layers, n, s, int(key.shape[2]), int(value.shape[2]))
    scale = key.shape[2] ** -0.5 if options.scale else 1.0
    if options.normalization == "rescaling":
        scale /= s
    weight = output.weight.flatten(1)  # (C, V)
    front = None  # F_1
    if layers.fuse is not None:
        fusing = layers.fuse[0]
        assert isinstance(fusing, nn.Conv2d)
        front = fusing.weight[:, :channels].flatten(1)
    if order == "matrix":
        folded = weight if front is None else front @ weight
        # A smaller matrix is faster without fused attention.
        large = n * s > LARGE and s > 4 * (key.shape[2] + value.shape[2])
        fused = options.form == "fused" or large or query.is_cuda
        if options.normalization == "softmax" and fused:
            left = attend_fused(query, key, value, scale)
        else:
            left = similarity(query, key, scale, options.normalization) @ value.to(query.dtype)
        right = folded.T.expand(query.shape[0], -1, -1)  # len() would fix the batch of an export
        return left, right
    if front is not None and s > value.shape[2]:
        value = F.linear(value, front @ weight)
    else:
        value = F.linear(value, weight)  # (B, S, C)
        value = value if front is None else F.linear(value, front)
    if order == "product":
        return query, (key * scale).transpose(1, 2) @ value
    return similarity(query, key, scale, options.normalization), value


def similarity(query: Tensor, key: Tensor, scale: float, normalization: str) -> Tensor:
    """Return f(scale query^T key).

    Args:
        query: (B, N, K).
        key: (B, S, K).
        scale: A factor of the key. It includes the 1 / S of rescaling.
        normalization: One of NORMALIZATIONS; only softmax is applied here.

    Returns:
        (B, N, S).
    """
    scores = query @ (key * scale).to(query.dtype).transpose(1, 2)
    # With its dtype named, autocast does not widen this N x S matrix.
    return scores.softmax(dim=2, dtype=scores.dtype) if normalization == "softmax" else scores


def combine(layers: Layers, x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return W_o O + X, or the fusing layers' output for cat(W_o O, X).

    Args:
        layers: The layers of the block.
        x: (B, C, H, W).
        left: (B, N, R), see compute_factors.
        right: (B, R, C).

    Returns:
        (B, C, H, W).
    """
    assert isinstance(layers.output, nn.Conv2d)
    bias, size = layers.output.bias, x.shape[2:]
    left, right = left.to(right.dtype), right.to(right.dtype)
    if layers.fuse is None:
        y = torch.baddbmm(x.flatten(2), right.transpose(1, 2), left.transpose(1, 2))
        return (y if bias is None else y + bias[:, None]).unflatten(2, size)
    conv, *following = layers.fuse
    assert isinstance(conv, nn.Conv2d)
    front, back = conv.weight.flatten(1).chunk(2, dim=1)  # F_1, F_2
    if bias is None or conv.bias is None:
        bias = conv.bias if bias is None else front @ bias
    else:
        bias = front @ bias + conv.bias
    y = torch.baddbmm(F.linear(to_rows(x), back, bias), left, right)
    y = y.transpose(1, 2).unflatten(2, size)
    for layer in following:
        y = layer(y)
    return y
