"""How long each operation of a block takes: the paper's figure of operation times."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.measuring.clock import synchronise

GROUPS = ("convolutions", "sampling", "matrix products", "softmax", "other")
_NAMES = {
    "convolution": "convolutions",
    "mm": "matrix products",
    "bmm": "matrix products",
    "addmm": "matrix products",
    "baddbmm": "matrix products",
    "_softmax": "softmax",
}


class OperationTimes(TorchDispatchMode):
    """Seconds by group of all that PyTorch computes inside the context; each is synchronised.

    What `sampler` computes, with whatever operations, counts as sampling.
    """

    def __init__(self, device: str, sampler: nn.Module | None) -> None:
        super().__init__()
        self.device, self.sampling = device, False
        self.seconds = dict.fromkeys(GROUPS, 0.0)
        if sampler is not None:
            sampler.register_forward_pre_hook(lambda *_: self._inside(True))
            sampler.register_forward_hook(lambda *_: self._inside(False))

    def _inside(self, sampling: bool) -> None:
        self.sampling = sampling

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        start = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        synchronise(self.device)
        name = func.overloadpacket.__name__
        group = "sampling" if self.sampling else _NAMES.get(name, "other")
        self.seconds[group] += time.perf_counter() - start
        return result


def operation_seconds(
    call: Callable[[], object], device: str, sampler: nn.Module | None
) -> dict[str, float]:
    """The seconds of one forward call by group; not under inference mode, which hides the parts."""
    with torch.no_grad(), OperationTimes(device, sampler) as times:
        call()
    return times.seconds
