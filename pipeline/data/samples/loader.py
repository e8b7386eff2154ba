"""Load batches in an order that is a pure function of (seed, iteration, slot).

Sample number k = iteration * batch_size + slot runs through one permutation after the other.
Nothing depends on the number of workers or processes. There is no state to save, because a run can
start at any iteration.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.data.formats.base import BACKGROUND, IGNORE
from pipeline.data.prepared.store import Store
from pipeline.data.samples.augment import augment
from pipeline.engine.errors import InputError
from pipeline.settings.schema import Augment


class Batch(NamedTuple):
    """images (B, 3, H, W) uint8, channels last; labels (B, H, W) int64; sample_ids (B,) int64."""

    images: Tensor
    labels: Tensor
    sample_ids: Tensor


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, 0, epoch)).permutation(count)


def sample_index(seed: int, number: int, count: int) -> int:
    """Return which of `count` samples is number `number` of the run."""
    return int(_permutation(seed, number // count, count)[number % count])


def sample_indices(seed: int, iteration: int, batch_size: int, count: int) -> list[int]:
    """Return which of `count` samples are in an iteration's batch, over all processes."""
    first = iteration * batch_size
    return [sample_index(seed, first + slot, count) for slot in range(batch_size)]


class NumberedSamples(Dataset[tuple[np.ndarray, np.ndarray, int]]):
    """Augmented samples by their number in the run, with an id for randomness in the network."""

    def __init__(self, store: Store, options: Augment, seed: int) -> None:
        self.store, self.options, self.seed = store, options, seed

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, int]:
        rng = np.random.default_rng((self.seed, 1, number))
        sample_id = int(rng.integers(2**63))
        index = sample_index(self.seed, number, len(self.store))
        image, label = augment(self.store[index], self.options, rng)
        return image, label, sample_id


def _collate(samples: list[tuple[np.ndarray, np.ndarray, int]]) -> Batch:
    """Stack samples to a batch, which ignores background."""
    images, label_maps, sample_ids = zip(*samples, strict=True)
    labels = np.stack(label_maps)
    labels[labels == BACKGROUND] = IGNORE
    return Batch(
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
        torch.from_numpy(labels).long(),
        torch.tensor(sample_ids),
    )


def load_batches(
    samples: NumberedSamples,
    *,
    batch_size: int,
    start: int,
    stop: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
) -> Iterator[Batch]:
    """Yield the batches of the iterations from `start` until before `stop`.

    Args:
        samples: The samples by number.
        batch_size: Samples of an iteration, over all processes.
        start: The first iteration.
        stop: The iteration after the last.
        rank: This process' number, which chooses its share of the slots.
        world_size: The number of processes.
        workers: Processes that load samples, 0 for this process itself.

    Raises:
        InputError: A file can no longer be read.
    """
    share = batch_size // world_size
    numbers = [
        range(i * batch_size + rank * share, i * batch_size + (rank + 1) * share)
        for i in range(start, stop)
    ]
    loader = DataLoader(
        samples,
        batch_sampler=numbers,  # type: ignore[arg-type]
        collate_fn=_collate,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )
    try:
        yield from loader
    except InputError as error:  # a worker puts its traceback before the sentence
        raise InputError(str(error).rpartition("InputError: ")[2].rstrip()) from None
