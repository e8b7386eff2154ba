"""Activation checkpointing: compute a part of a block again in place of keeping what it made."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ann.layers import Layers

T = TypeVar("T")


def keep_or_recompute(
    function: Callable[..., T], layers: Layers, x: Tensor, *others: Tensor | None
) -> T:
    """Return function(layers, x, *others). The option `recompute` says what the backward pass has.

    With the option, autograd keeps only the arguments, and the backward pass calls the function
    again. torch.jit.trace and torch.func cannot, so there autograd keeps everything.

    Args:
        function: A part of a block.
        layers: The layers of the block.
        x: (B, C, H, W).
        others: What else the function takes.
    """
    if not layers.options.recompute:
        return function(layers, x, *others)
    if torch.compiler.is_compiling():  # the compiler itself changes a buffer only once
        return checkpoint(function, layers, x, *others, use_reentrant=False)
    if torch.jit.is_tracing() or torch._C._functorch.is_functorch_wrapped_tensor(x):  # type: ignore[attr-defined]
        return function(layers, x, *others)
    modules = list(_list_modules(layers))

    def make_contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _copy_buffers(modules)

    return checkpoint(function, layers, x, *others, use_reentrant=False, context_fn=make_contexts)


def _list_modules(layers: Layers) -> Iterator[nn.Module]:
    """Yield the modules that may change their buffers, as batch norms in training mode do."""
    for layer in (layers.query, layers.key, layers.value, layers.sampler):
        if layer is not None:
            yield from (module for module in layer.modules() if module.training)


@contextmanager
def _copy_buffers(modules: list[nn.Module]) -> Iterator[None]:
    """Let modules change copies of their buffers, because the first call has changed them."""
    kept = [module._buffers for module in modules]
    for module in modules:
        copies = {name: b if b is None else b.clone() for name, b in module._buffers.items()}
        module._buffers = copies
    try:
        yield
    finally:
        for module, buffers in zip(modules, kept, strict=True):
            module._buffers = buffers
