"""What a block costs: operations and bytes in closed form, for the plain and the fast form.

A product of (a x b) and (b x c) is 2abc operations, two a multiply-add. Each operand is read once
and each result is written once. That is a floor, because caches may hold less. Biases, batch norm,
ReLU and the scale are left out because they have no products.
"""

from typing import NamedTuple

from torch import nn

from ann.blocks import NonLocalBlock
from ann.orders import choose_order
from ann.sampling import anchors

OPERATIONS = (
    "query",
    "key",
    "value",
    "sampling",
    "similarity",
    "normalization",
    "aggregation",
    "output",
    "fusing",
)


class Cost(NamedTuple):
    """The operations and the memory traffic of a computation.

    Attributes:
        flops: Operations, two a multiply-add.
        read: Bytes, or elements where it says so.
        written: The same.
    """

    flops: int = 0
    read: int = 0
    written: int = 0

    @property
    def bytes(self) -> int:
        """Bytes that are read or written."""
        return self.read + self.written

    def __add__(self, other: object) -> "Cost":
        assert isinstance(other, Cost)
        return Cost(*(a + b for a, b in zip(tuple(self), tuple(other), strict=True)))

    def times(self, factor: int) -> "Cost":
        """Return the cost of `factor` such computations."""
        return Cost(*(factor * x for x in self))


def product(rows: int, inner: int, columns: int) -> Cost:
    """Return the cost of (rows x inner) times (inner x columns), in elements.

    A 1x1 convolution is such a product, with a row for each position.
    """
    read = rows * inner + inner * columns
    return Cost(2 * rows * inner * columns, read, rows * columns)


def block_cost(
    block: NonLocalBlock, height: int, width: int, *, batch: int = 1, element_size: int = 4
) -> dict[str, Cost]:
    """Return the cost of a block's forward pass by operation.

    Sampling and normalization have no products, so their flops are 0 and only their bytes count.
    The fast form folds weights once a call; they are counted for each image.

    Args:
        block: The block.
        height: H, of X and of the low-level map.
        width: W.
        batch: B.
        element_size: Bytes of an element.
    """
    form = _plain if block.computes_plain else _fast
    costs = form(block, height * width)
    return {
        name: Cost(cost.flops, cost.read * element_size, cost.written * element_size).times(batch)
        for name, cost in ((name, costs.get(name, Cost())) for name in OPERATIONS)
    }


def total(costs: dict[str, Cost]) -> Cost:
    """Return the sum of the operations' costs."""
    return sum(costs.values(), Cost())


class _Sizes(NamedTuple):
    """C, C_l (C where the block attends to X itself), K, V and S."""

    channels: int
    source_channels: int
    key_channels: int
    value_channels: int
    anchors: int


def _sizes(block: NonLocalBlock, positions: int) -> _Sizes:
    key = _convolution(block.query if block.key is None else block.key)
    output = _convolution(block.output)
    c, v = output.out_channels, output.in_channels
    s = anchors(block.sampler.pool_sizes) if block.sampler else positions
    return _Sizes(c, key.in_channels, key.out_channels, v, s)


def _convolution(embedding: nn.Module) -> nn.Conv2d:
    """Return the convolution of query, key or W_o, which batch norm and ReLU may follow."""
    return next(m for m in embedding.modules() if isinstance(m, nn.Conv2d))


def _plain(block: NonLocalBlock, n: int) -> dict[str, Cost]:
    """Return the costs of the plain form, in elements, for N positions."""
    c, source, k, v, s = _sizes(block, n)
    own_key, own_value = block.key is not None, block.value is not None
    costs = {
        "query": product(n, c, k),
        "similarity": product(n, k, s),
        "aggregation": product(n, s, v),
        "output": product(n, v, c),
    }
    if own_key:
        costs["key"] = product(n, source, k)
    if own_value:
        costs["value"] = product(n, source, v)
    if block.sampler:
        maps = k + (v if own_value else 0)
        costs["sampling"] = Cost(0, n * maps, s * maps)
    if block.options.normalization != "none":
        costs["normalization"] = Cost(0, n * s, n * s)
    if block.options.output == "concat":
        copy = Cost(0, 2 * n * c, 2 * n * c)
        costs["fusing"] = copy + product(n, 2 * c, c)
    else:
        costs["fusing"] = Cost(0, 2 * n * c, n * c)
    return costs


def _fast(block: NonLocalBlock, n: int) -> dict[str, Cost]:
    """Return the costs of the fast form, in elements, for N positions.

    The product of a weight that is folded into another counts too. Without sampling the attention
    is fused, and the N x N matrix is never written.
    """
    c, source, k, v, s = _sizes(block, n)
    costs = _plain(block, n)
    concat = block.fuse is not None
    late = block.sampler is not None and block.sampler.linear
    late_key, late_value = late and isinstance(block.key, nn.Conv2d), late and block.value
    if late_key:
        costs["key"] = product(s, source, k)
    if late_value:
        costs["value"] = product(s, source, v)
    if block.sampler:
        maps = (0 if late_key else k) + (0 if late_value or block.value is None else v)
        maps += source if late_key or late_value else 0
        costs["sampling"] = Cost(0, n * maps, s * maps)
    order = choose_order(block.get_layers(), n, s, k, v)
    if order == "matrix":
        costs["output"] = product(c, c, v) if concat else product(n, v, c)
        folded = product(n, v, c)
    else:
        costs["output"] = product(s, v, c)
        folded = product(c, c, v) if s > v else product(s, c, c)
        costs["aggregation"] = product(n, s, c)
    if order == "product":
        costs["similarity"] = Cost()
        costs["aggregation"] = product(k, s, c) + product(n, k, c)
    elif block.sampler is None and block.options.normalization == "softmax":
        costs["similarity"] = Cost(costs["similarity"].flops, 2 * n * k)
        costs["aggregation"] = Cost(costs["aggregation"].flops, n * v, n * v)
        costs["normalization"] = Cost()
    if block.options.normalization == "rescaling":
        costs["normalization"] = Cost()  # in the key's scale
    costs["fusing"] = folded + product(n, c, c) if concat else Cost(0, n * c)
    return costs


def authors_count(positions: int, channels: int, embedded_channels: int) -> int:
    """Return the operations of NB as the counter of the released code reports them.

    It counts a multiply-add of a convolution as one operation and of a matrix product as two. It
    adds biases, batch norm (two a value) and ReLU (one). It sees each module once: query and key
    are one module, and the two N x N products are another.

    Args:
        positions: N.
        channels: C.
        embedded_channels: K and V, which are equal.
    """
    convolutions = 3 * channels * embedded_channels  # query = key, value, W_o
    biases = 2 * embedded_channels + channels
    norm_and_relu = 3 * embedded_channels
    similarity = 2 * embedded_channels * positions
    return positions * (convolutions + biases + norm_and_relu + similarity)
