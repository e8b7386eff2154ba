"""Constants that stay on their device between calls.

A constant that is copied to a GPU at each call makes the host wait each time for all that was
queued before. So it is copied once. A tensor that is made while somebody traces, compiles or
transforms the network belongs to that, so there each call makes its own.
"""

from collections.abc import Callable, Hashable
from functools import lru_cache

import torch
from torch import Tensor


def cached_on_device(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function that calls `make` once for the same arguments.

    Args:
        make: Makes a constant; its arguments are hashable and say the device.

    Returns:
        A function that takes, before the arguments of `make`, a tensor that the constant is used
        with. Nobody may change the constant in place.
    """

    @lru_cache(maxsize=256)
    def make_once(*args: Hashable) -> Tensor:
        with torch.inference_mode(False):  # a later training may save the constant for its backward
            return make(*args)

    def get(used_with: Tensor, *args: Hashable) -> Tensor:
        # The compiler reads this first: it warns of functions that are cached.
        if torch.compiler.is_compiling() or not _is_eager(used_with):
            return make(*args)
        return make_once(*args)

    return get


def _is_eager(x: Tensor) -> bool:
    """Tell whether a tensor has values now, and nobody records what is done with it."""
    return (
        type(x) in (Tensor, torch.nn.Parameter)
        and x.device.type != "meta"
        and not torch.jit.is_tracing()  # type: ignore[attr-defined]
        and not torch._C._functorch.is_functorch_wrapped_tensor(x)
        and not torch._C._len_torch_dispatch_stack()
    )
