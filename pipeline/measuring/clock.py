"""Seconds and peak memory of a call, in the process that makes it.

Peak memory is what the call needs beyond what was there before it, so without inputs and
weights: on CUDA by the allocator, on Linux by the peak resident size, set back before the call,
where that is not permitted by the growth of the largest resident size so far.
"""

import ctypes
import resource
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil
import torch
import torch._dynamo  # a first backward or optimizer step imports it: here, not in each process

from pipeline.common.provenance import cpu_name
from pipeline.measuring.process import NotFittingError, Row

Call = Callable[[], object]


def prepare(threads: int) -> None:
    """Fixed threads, and float32 that is float32 (on CUDA convolutions would be TensorFloat32)."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def device_names() -> Row:
    """The devices of this machine by type; in a process of its own, for it touches CUDA."""
    names = {"cpu": cpu_name()}
    if torch.cuda.is_available():
        names["cuda"] = torch.cuda.get_device_name()
    return names


def need(count: float, device: str) -> None:
    """Refuse what is estimated to need more bytes than are free."""
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available
    if count > free:
        raise NotFittingError


def timed(call: Call, device: str) -> float:
    """Seconds of one call, synchronised."""
    synchronise(device)
    start = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure(call: Call, device: str, *, repeats: int, seconds: float) -> Row:
    """Median seconds and peak bytes of a call.

    The first call gives the memory and warms up; it gives the time too if it alone takes longer
    than `seconds`. Else as many as `repeats` calls follow, until `seconds` are spent.
    """
    before = _start_peak(device)
    times = [timed(call, device)]
    row: Row = {"peak_bytes": max(0, _peak(device) - before), "memory_by": memory_by(device)}
    if times[0] < seconds:
        times.clear()
        while not times or (len(times) < repeats and sum(times) < seconds):
            times.append(timed(call, device))
    return row | {"seconds": statistics.median(times), "repeats": len(times)}


def memory_by(device: str) -> str:
    """How the peak is found on this machine."""
    if device == "cuda":
        return "allocator"
    return "peak resident size" if _can_set_back() else "largest resident size so far"


@cache
def _can_set_back() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmHWM") > 0
    except (OSError, StopIteration):
        return False


def _start_peak(device: str) -> int:
    """Set the peak back; returns what is in use."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    if not _can_set_back():
        return _largest()
    with suppress(AttributeError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)  # so that what was freed does not hide what is needed
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return _status("VmHWM") if _can_set_back() else _largest()


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def _largest() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
