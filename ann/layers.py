"""Whether a block's layers are still the plain layers it was made with.

The fast form reads the weights of some layers past their `forward`. That is the same as calling
them only while nobody has hooked, parametrised, wrapped or exchanged them.
"""

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from ann.blocks import NonLocalBlock

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_plain(layer: nn.Module | None, kind: type[nn.Module]) -> bool:
    """Tell whether reading the layer's weights is the same as calling it."""
    return (
        type(layer) is kind
        and "forward" not in vars(layer)
        and not any(getattr(layer, hooks) for hooks in _HOOKS)
    )


def is_projection(layer: nn.Module | None) -> bool:
    """Tell whether a layer is a plain 1x1 convolution."""
    return (
        is_plain(layer, nn.Conv2d)
        and isinstance(layer, nn.Conv2d)
        and (layer.kernel_size, layer.stride, layer.padding) == ((1, 1), (1, 1), (0, 0))
        and layer.groups == 1
    )


def changed_layer(block: "NonLocalBlock") -> str | None:
    """Return the name of a layer whose weights may not be read past it, or None."""
    if not is_projection(block.output):
        return "output"
    if block.fuse is not None:
        if not is_plain(block.fuse, nn.Sequential):
            return "fuse"
        if not (len(block.fuse) and is_projection(block.fuse[0])):
            return "fuse.0"
    return None
