"""The layers of a block, and whether somebody has modified them.

The fast form reads the weights of some layers and does not call their `forward`. That gives the
same result only while nobody has hooked, parametrised, wrapped or replaced them.
"""

from typing import NamedTuple

from torch import Tensor, nn

from ann.options import BlockOptions
from ann.sampling import Sampler

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Layers(NamedTuple):
    """The layers and options of a block, as they are at one call of it.

    Attributes:
        query: From X to K channels.
        key: From X or X_l to K channels; None where the query is the key.
        value: From X or X_l to V channels; None where the key is the value.
        output: W_o, a 1x1 convolution from V to C channels, and with `output_norm` a batch norm.
        fuse: The fusing 1x1 convolution from 2 C to C channels, and what follows it; None in a
            residual block.
        sampler: It samples key and value; None where they have every position.
        options: The block's options.
    """

    query: nn.Module
    key: nn.Module | None
    value: nn.Module | None
    output: nn.Module
    fuse: nn.Sequential | None
    sampler: Sampler | None
    options: BlockOptions


def is_unmodified(layer: nn.Module | None, kind: type[nn.Module]) -> bool:
    """Tell whether reading the layer's weights gives the same result as calling it.

    Args:
        layer: The layer, if there is one.
        kind: The class that the layer had when the block was made.
    """
    return (
        type(layer) is kind
        and "forward" not in vars(layer)
        and not any(getattr(layer, hooks) for hooks in _HOOKS)
    )


def is_projection(layer: nn.Module | None) -> bool:
    """Tell whether a layer is an unmodified 1x1 convolution."""
    return (
        is_unmodified(layer, nn.Conv2d)
        and isinstance(layer, nn.Conv2d)
        and (layer.kernel_size, layer.stride, layer.padding) == ((1, 1), (1, 1), (0, 0))
        and layer.groups == 1
    )


def to_matrix(layer: nn.Conv2d) -> Tensor:
    """View the weights of a 1x1 convolution as a matrix, (outputs, inputs).

    Its gradient then has the layout of channels-last weights. DistributedDataParallel copies
    gradients of another layout in each iteration.
    """
    return layer.weight.permute(0, 2, 3, 1).flatten(0, 2)


def find_modified_layer(layers: Layers) -> str | None:
    """Return the name of a modified layer whose weights the fast form reads, or None."""
    if not is_projection(layers.output):
        return "output"
    if layers.fuse is not None:
        if not is_unmodified(layers.fuse, nn.Sequential):
            return "fuse"
        if not (len(layers.fuse) and is_projection(layers.fuse[0])):
            return "fuse.0"
    return None
