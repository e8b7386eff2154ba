"""PyTorch's fused attention, which never holds the whole N x S matrix."""

import torch
import torch.nn.functional as F
from torch import Tensor


def attend_fused(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Return O = softmax(scale query^T key) value^T by scaled_dot_product_attention.

    It has no second derivative. A backward pass with create_graph=True raises a RuntimeError that
    names the form to use.

    Args:
        query: (B, N, K).
        key: (B, S, K).
        value: (B, S, V).
        scale: A factor of the similarities.

    Returns:
        (B, N, V).
    """
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
