"""Measure the peak memory of this process between two points.

The caller subtracts the bytes in use at the start, so inputs and weights do not count. There are
three methods:

- On CUDA, PyTorch's allocator counts.
- On Linux, the peak resident size is reset at the start.
- Where a reset is not permitted, it is the growth of the largest resident size so far.
"""

import ctypes
import resource
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch


def name_method(device: str) -> str:
    """Return the name of the method that measures the peak on this machine."""
    if device == "cuda":
        return "allocator"
    return "peak resident size" if _can_reset() else "largest resident size so far"


@cache
def _can_reset() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        return _read_status("VmHWM") > 0
    except (OSError, StopIteration):
        return False


def reset_peak(device: str) -> int:
    """Reset the peak, and return the bytes in use."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    if not _can_reset():
        return _read_largest()
    with suppress(AttributeError):  # some C libraries lack it
        ctypes.CDLL(None).malloc_trim(0)  # freed memory would hide new allocations
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return _read_status("VmRSS")


def read_peak(device: str) -> int:
    """Return the most bytes in use since `reset_peak`."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return _read_status("VmHWM") if _can_reset() else _read_largest()


def _read_status(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def _read_largest() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
