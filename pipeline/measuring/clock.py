"""Seconds and peak memory of a call, in the process that makes it."""

import statistics
import time
from collections.abc import Callable

import psutil
import torch
import torch._dynamo  # noqa: F401 - backward imports it first: here, not in each process

from pipeline.common import memory
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
    before = memory.start_peak(device)
    times = [timed(call, device)]
    row: Row = {
        "peak_bytes": max(0, memory.peak(device) - before),
        "memory_by": memory.counted_by(device),
    }
    if times[0] < seconds:
        times.clear()
        while not times or (len(times) < repeats and sum(times) < seconds):
            times.append(timed(call, device))
    return row | {"seconds": statistics.median(times), "repeats": len(times)}
