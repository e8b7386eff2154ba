"""The products of the fast form, in the order that ann.orders chooses."""

import torch.nn.functional as F
from torch import Tensor, nn

from ann.fused import attend_fused
from ann.layers import Layers, to_matrix
from ann.orders import choose_order

LARGE = 1 << 18  # elements of an N x S matrix that no longer fits a CPU's cache


def compute_factors(
    layers: Layers, query: Tensor, key: Tensor, value: Tensor, front: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return two matrices whose product is W_o O, or F_1 W_o O, without the bias.

    Args:
        layers: The layers of the block.
        query: (B, N, K).
        key: (B, S, K).
        value: (B, S, V).
        front: F_1, if there is one.

    Returns:
        (B, N, R) and (B, R, C), where R is S, V or K by the order of the products.
    """
    options, output = layers.options, layers.output
    assert isinstance(output, nn.Conv2d)
    n, s = int(query.shape[1]), int(key.shape[1])
    order = choose_order(layers, n, s, int(key.shape[2]), int(value.shape[2]))
    scale = key.shape[2] ** -0.5 if options.scale else 1.0
    if options.normalization == "rescaling":
        scale /= s
    weight = to_matrix(output)  # (C, V)
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
