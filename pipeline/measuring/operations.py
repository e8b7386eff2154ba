"""Measure how long each operation of a block takes, for the paper's figure of operation times."""

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
    """Sum the seconds of all operations inside the context by group, each until it is done.

    All operations inside `sampler` count as sampling.
    """

    def __init__(self, device: str, sampler: nn.Module | None) -> None:
        super().__init__()
        self.device, self.sampling = device, False
        self.seconds = dict.fromkeys(GROUPS, 0.0)
        if sampler is not None:
            sampler.register_forward_pre_hook(lambda *_: self._set_sampling(True))
            sampler.register_forward_hook(lambda *_: self._set_sampling(False))

    def _set_sampling(self, sampling: bool) -> None:
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
    """Return the seconds of one forward call by group.

    It runs without inference mode, which would hide the parts of an operation.
    """
    with torch.no_grad(), OperationTimes(device, sampler) as times:
        call()
    return times.seconds
