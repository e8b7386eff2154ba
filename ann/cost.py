"""What a block costs: operations and bytes in closed form, for the plain and the fast form.

N positions, S anchors (N without sampling), C and C_l channels of X and of the low-level map,
K and V embedded channels. A product of (a x b) and (b x c) is 2abc operations, two a
multiply-add, and each operand is read once and each result written once; that is a floor, since
caches may hold less. Biases, batch norm, ReLU and the scale are left out: they have no products.
"""

from typing import NamedTuple

from torch import nn

from ann import fast
from ann.blocks import NonLocalBlock
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
    """flops: operations, two a multiply-add; read, written: bytes."""

    flops: int = 0
    read: int = 0
    written: int = 0

    @property
    def bytes(self) -> int:
        return self.read + self.written

    def __add__(self, other: object) -> "Cost":
        assert isinstance(other, Cost)
        return Cost(*(a + b for a, b in zip(tuple(self), tuple(other), strict=True)))

    def times(self, factor: int) -> "Cost":
        return Cost(*(factor * x for x in self))


def product(rows: int, inner: int, columns: int) -> Cost:
    """(rows x inner) times (inner x columns); a 1x1 convolution is one with rows = positions."""
    read = rows * inner + inner * columns
    return Cost(2 * rows * inner * columns, read, rows * columns)


def block_cost(
    block: NonLocalBlock, height: int, width: int, *, batch: int = 1, element_size: int = 4
) -> dict[str, Cost]:
    """The forward pass of a block by operation, on maps (batch, C, height, width).

    Sampling and normalization have no products, so their flops are 0 and their bytes count. The
    fast form folds weights once a call; they are counted for each image.
    """
    form = _plain if block.options.form == "plain" else _fast
    found = form(block, height * width)
    return {
        name: Cost(cost.flops, cost.read * element_size, cost.written * element_size).times(batch)
        for name, cost in ((name, found.get(name, Cost())) for name in OPERATIONS)
    }


def total(costs: dict[str, Cost]) -> Cost:
    return sum(costs.values(), Cost())


class _Sizes(NamedTuple):
    """C, C_l, K, V and S of the module's text."""

    channels: int
    source: int
    keys: int
    values: int
    anchors: int


def _sizes(block: NonLocalBlock, positions: int) -> _Sizes:
    own_key = block.query if block.key is None else block.key
    source = _convolution(own_key).in_channels
    keys = _convolution(own_key).out_channels
    sampled = anchors(block.sampler.pool_sizes) if block.sampler else positions
    return _Sizes(block.output.out_channels, source, keys, block.output.in_channels, sampled)


def _convolution(embedding: nn.Module) -> nn.Conv2d:
    return next(m for m in embedding.modules() if isinstance(m, nn.Conv2d))


def _plain(block: NonLocalBlock, n: int) -> dict[str, Cost]:
    c, source, k, v, s = _sizes(block, n)
    own_key, own_value = block.key is not None, block.value is not None
    found = {
        "query": product(n, c, k),
        "similarity": product(n, k, s),
        "aggregation": product(n, s, v),
        "output": product(n, v, c),
    }
    if own_key:
        found["key"] = product(n, source, k)
    if own_value:
        found["value"] = product(n, source, v)
    if block.sampler:
        maps = k + (v if own_value else 0)
        found["sampling"] = Cost(0, n * maps, s * maps)
    if block.options.normalization != "none":
        found["normalization"] = Cost(0, n * s, n * s)
    if block.options.output == "concat":
        copy = Cost(0, 2 * n * c, 2 * n * c)
        found["fusing"] = copy + product(n, 2 * c, c)
    else:
        found["fusing"] = Cost(0, 2 * n * c, n * c)
    return found


def _fast(block: NonLocalBlock, n: int) -> dict[str, Cost]:
    """As ann.fast computes it; of a weight that is folded into another, the product counts too.

    Where nothing samples, the attention is fused and the N x N matrix is never written.
    """
    c, source, k, v, s = _sizes(block, n)
    found = _plain(block, n)
    concat = block.fuse is not None
    late = block.sampler is not None and block.sampler.linear
    late_key, late_value = late and isinstance(block.key, nn.Conv2d), late and block.value
    if late_key:
        found["key"] = product(s, source, k)
    if late_value:
        found["value"] = product(s, source, v)
    if block.sampler:
        maps = (0 if late_key else k) + (0 if late_value or block.value is None else v)
        maps += source if late_key or late_value else 0
        found["sampling"] = Cost(0, n * maps, s * maps)
    way = fast.cheapest(block, n, s, k, v)
    if way == "matrix":
        found["output"] = product(c, c, v) if concat else product(n, v, c)
        folded = product(n, v, c)
    else:
        found["output"] = product(s, v, c)
        folded = product(c, c, v) if s > v else product(s, c, c)
        found["aggregation"] = product(n, s, c)
    if way == "product":
        found["similarity"] = Cost()
        found["aggregation"] = product(k, s, c) + product(n, k, c)
    elif block.sampler is None and block.options.normalization == "softmax":
        found["similarity"] = Cost(found["similarity"].flops, 2 * n * k)
        found["aggregation"] = Cost(found["aggregation"].flops, n * v, n * v)
        found["normalization"] = Cost()
    if block.options.normalization == "rescaling":
        found["normalization"] = Cost()  # in the key's scale
    found["fusing"] = folded + product(n, c, c) if concat else Cost(0, n * c)
    return found


def authors_count(positions: int, channels: int, embedded_channels: int) -> int:
    """Operations of NB as the counter of the released code reports them.

    It counts a multiply-add of a convolution as one operation and of a matrix product as two,
    adds biases, batch norm (two a value) and ReLU (one), and sees each module once: query and
    key, which are one module, and the two N x N products, which are another.
    """
    convolutions = 3 * channels * embedded_channels  # query = key, value, W_o
    biases = 2 * embedded_channels + channels
    norm_and_relu = 3 * embedded_channels
    similarity = 2 * embedded_channels * positions
    return positions * (convolutions + biases + norm_and_relu + similarity)
