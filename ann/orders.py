"""The orders in which the fast form of a block can multiply, and what each costs."""

from torch import nn

from ann.layers import Layers


def count_multiply_adds(n: int, s: int, k: int, v: int, c: int, concat: bool) -> dict[str, int]:
    """Count the multiply-adds of W_o f(query^T key) value^T, in each order.

    Args:
        n: N.
        s: S.
        k: K.
        v: V.
        c: C.
        concat: Whether a fusing convolution follows. Its part F_1 then counts too.

    Returns:
        The count of each order. "anchors" folds W_o into the S values. "matrix" leaves the values
        as they are. "product" computes key value^T first, which needs a block without a softmax.
    """
    matrix = c * c * v if concat else 0
    fold = s * v * c + min(s * c * c, matrix)
    return {
        "anchors": n * s * (k + c) + fold,
        "matrix": n * s * (k + v) + n * v * c + matrix,
        "product": n * k * c + s * k * c + fold,
    }


def choose_order(layers: Layers, n: int, s: int, k: int, v: int) -> str:
    """Return the order with the fewest multiply-adds that the block's options allow.

    Args:
        layers: The layers of the block.
        n: N.
        s: S.
        k: K.
        v: V.
    """
    if layers.options.form == "fused":
        return "matrix"
    assert isinstance(layers.output, nn.Conv2d)
    counts = count_multiply_adds(n, s, k, v, layers.output.out_channels, layers.fuse is not None)
    if layers.options.normalization == "softmax":
        del counts["product"]
        if layers.sampler is None:
            del counts["anchors"]  # it holds the whole N x N matrix
    cheapest, *others = counts
    for order in others:  # the compiler takes no min() with a key over sizes that vary
        if counts[order] < counts[cheapest]:
            cheapest = order
    return cheapest
