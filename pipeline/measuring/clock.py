"""Measure seconds and peak memory of a call in this process."""

import statistics
import time
from collections.abc import Callable

import psutil
import torch
import torch._dynamo  # noqa: F401 - backward imports it: do it here once, not in each process

from pipeline.engine import memory
from pipeline.engine.precision import set_up_cuda
from pipeline.engine.provenance import read_cpu_name
from pipeline.measuring.process import NotFittingError
from pipeline.settings.records import Measurement

Call = Callable[[], object]


def set_up_torch(
    threads: int, device: str, precision: str = "float32", deterministic: bool = False
) -> None:
    """Set the number of threads, and on CUDA what trainings set there too.

    Args:
        threads: Of computations on the CPU.
        device: cpu or cuda.
        precision: A resolved precision (see pipeline.engine.precision).
        deterministic: Whether only repeatable kernels are allowed.
    """
    torch.set_num_threads(threads)
    if device == "cuda":
        set_up_cuda(precision, deterministic)


def device_names() -> dict[str, str]:
    """Return the names of this machine's devices by type.

    Call it in a process of its own, because it initialises CUDA.
    """
    names = {"cpu": read_cpu_name()}
    if torch.cuda.is_available():
        names["cuda"] = torch.cuda.get_device_name()
    return names


def require_memory(count: float, device: str) -> None:
    """Raise NotFittingError if fewer than `count` bytes are free on the device."""
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available
    if count > free:
        raise NotFittingError


def time_call(call: Call, device: str) -> float:
    """Return the seconds of one call, until the device is done."""
    synchronise(device)
    start = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: str) -> None:
    """Wait until the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()


def measure(call: Call, device: str, *, repeats: int, seconds: float) -> Measurement:
    """Return the median seconds and the peak bytes of a call.

    The first call warms up and gives the memory. It also gives the time if it takes `seconds` or
    longer. Otherwise more calls follow, until there are `repeats` or `seconds` are spent.
    """
    before = memory.reset_peak(device)
    times = [time_call(call, device)]
    peak = max(0, memory.read_peak(device) - before)
    if times[0] < seconds:
        times.clear()
        while not times or (len(times) < repeats and sum(times) < seconds):
            times.append(time_call(call, device))
    return Measurement(
        peak_bytes=peak,
        memory_by=memory.name_method(device),
        seconds=statistics.median(times),
        fastest=min(times),
        slowest=max(times),
        repeats=len(times),
    )
