"""The peak memory of what this process does between two points.

It is what is needed beyond what was there before, so without inputs and weights: on CUDA by the
allocator, on Linux by the peak resident size, set back at the start, where that is not permitted
by the growth of the largest resident size so far.
"""

import ctypes
import resource
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch


def counted_by(device: str) -> str:
    """How the peak is found on this machine."""
    if device == "cuda":
        return "allocator"
    return "peak resident size" if _can_set_back() else "largest resident size so far"


@cache
def _can_set_back() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        return _status("VmHWM") > 0
    except (OSError, StopIteration):
        return False


def start_peak(device: str) -> int:
    """Set the peak back; returns the bytes in use."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    if not _can_set_back():
        return _largest()
    with suppress(AttributeError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)  # so that what was freed does not hide what is needed
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return _status("VmRSS")


def peak(device: str) -> int:
    """The most bytes in use since `start_peak`."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return _status("VmHWM") if _can_set_back() else _largest()


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def _largest() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
