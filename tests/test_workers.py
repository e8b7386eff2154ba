"""How many processes load samples: by the cores, and by the room in shared memory."""

import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import joblib
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from pipeline.data.samples import workers
from pipeline.engine.cores import count_cores, share_cores
from pipeline.engine.errors import InputError

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def _sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: 16)
    for name in ("SLURM_CPUS_PER_TASK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def set_room(monkeypatch: pytest.MonkeyPatch, folder: Path, free: int) -> None:
    monkeypatch.setattr(workers, "SHARED", folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free, 0, free))


def choose(device: str = "cuda") -> tuple[int, str]:
    """The number of workers of a device whose batches have 100 bytes."""
    return workers.choose_workers(torch.device(device), lambda: 100)


def test_cores_are_those_that_slurm_and_torchrun_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (count_cores(), share_cores()) == (16, 16)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert (count_cores(), share_cores()) == (6, 3)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "32")
    assert (count_cores(), share_cores()) == (16, 1)


@pytest.mark.parametrize(
    ("free", "expected"),
    [(10_000, 8), (1700, 8), (1699, 7), (300, 1), (299, 0), (64, 0)],
)
def test_the_batches_of_all_workers_fit_into_shared_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, expected: int
) -> None:
    set_room(monkeypatch, tmp_path, free)
    number, note = choose()
    assert number == expected
    assert (f"enough for {expected} of 8 processes" in note) == (expected < 8)
    assert ("--shm-size" in note) == (expected < 8)


def test_one_core_or_no_shared_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_room(monkeypatch, tmp_path / "none", 0)
    assert choose() == (8, "")
    assert choose("cpu") == (0, "")
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    assert choose() == (0, "")


class Unreadable(Dataset[int]):
    """A file that a worker cannot read."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> int:
        raise InputError("image.png: it is cut short")


@pytest.mark.parametrize("number", [0, 1])
def test_an_error_in_a_worker_is_its_sentence_alone(number: int) -> None:
    loader = DataLoader(Unreadable(), batch_size=None, num_workers=number)
    with pytest.raises(InputError) as error:
        list(workers.read_ahead(loader))
    assert str(error.value) == "image.png: it is cut short"


def test_the_end_of_a_worker_is_a_sentence() -> None:
    def fail(words: str) -> Iterator[int]:
        raise RuntimeError(words)
        yield

    with pytest.raises(InputError, match=r"/dev/shm is full; `docker run --shm-size"):
        list(workers.read_ahead(fail("DataLoader worker (pid 7) exited unexpectedly")))
    with pytest.raises(RuntimeError, match="another"):
        list(workers.read_ahead(fail("another")))
