"""How many processes load samples, by the cores and by the room in shared memory."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import torch

from pipeline.engine.cores import share_cores
from pipeline.engine.errors import InputError

T = TypeVar("T")
SHARED = Path("/dev/shm")
MOST = 8
AHEAD = 2  # batches that PyTorch's loader keeps for each worker
_ADVICE = "`docker run --shm-size=8g` or `--ipc=host` gives a container more"
_DEATHS = ("DataLoader worker", "unable to allocate shared memory", "unable to write to file")


def choose_workers(device: torch.device, count_bytes: Callable[[], int]) -> tuple[int, str]:
    """Return the number of workers, and why it is lower than the cores allow.

    Workers hand batches over through shared memory. Without room for one worker, and where the CPU
    trains, the process loads the samples itself, which is number 0.

    Args:
        device: What trains or predicts.
        count_bytes: Returns the size of a batch; called for a GPU alone.
    """
    if device.type == "cpu":
        return 0, ""
    workers = min(MOST, share_cores() - 1)
    if not SHARED.is_dir():
        return workers, ""
    free = shutil.disk_usage(SHARED).free
    fitting = max(0, (free // count_bytes() - 1) // AHEAD)
    if fitting >= workers:
        return workers, ""
    return fitting, (
        f"{SHARED} has {free / 1e6:.0f} MB free, which is enough for {fitting} of {workers} "
        f"processes that load samples; {_ADVICE}"
    )


def read_ahead(loader: Iterable[T]) -> Iterator[T]:
    """Yield what a loader's processes read; their errors become sentences.

    Raises:
        InputError: A file can no longer be read, or a process ended.
    """
    try:
        yield from loader
    except InputError as error:  # a worker puts its traceback before the sentence
        raise InputError(str(error).rpartition("InputError: ")[2].rstrip()) from None
    except RuntimeError as error:
        if any(words in str(error) for words in _DEATHS):
            raise InputError(
                f"a process that loads samples ended, perhaps because {SHARED} is full; {_ADVICE}"
            ) from None
        raise
