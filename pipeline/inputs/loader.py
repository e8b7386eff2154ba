"""The order of the samples: a pure function of (seed, iteration, slot).

Sample number k = iteration * batch_size + slot runs through one permutation after the other.
Nothing depends on the number of workers or processes, and there is no state to save: a run goes
on at any iteration by starting there.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.common.cli import InputError
from pipeline.common.params import Augment
from pipeline.datasets.base import BACKGROUND, IGNORE
from pipeline.inputs.augment import augment
from pipeline.inputs.store import Store


class Batch(NamedTuple):
    """images (B, 3, H, W) uint8, channels last; labels (B, H, W) int64; keys (B,) int64."""

    images: Tensor
    labels: Tensor
    keys: Tensor


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, 0, epoch)).permutation(count)


def sample_index(seed: int, number: int, count: int) -> int:
    """Which of `count` samples is number `number` of the run."""
    return int(_permutation(seed, number // count, count)[number % count])


def sample_indices(seed: int, iteration: int, batch_size: int, count: int) -> list[int]:
    """Which of `count` samples are in the batch of an iteration, over all processes."""
    first = iteration * batch_size
    return [sample_index(seed, first + slot, count) for slot in range(batch_size)]


class Numbered(Dataset[tuple[np.ndarray, np.ndarray, int]]):
    """Augmented samples by their number in the run; the key is for randomness in the network."""

    def __init__(self, store: Store, settings: Augment, seed: int) -> None:
        self.store, self.settings, self.seed = store, settings, seed

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, int]:
        rng = np.random.default_rng((self.seed, 1, number))
        key = int(rng.integers(2**63))
        index = sample_index(self.seed, number, len(self.store))
        image, label = augment(self.store[index], self.settings, rng)
        return image, label, key


def _collate(samples: list[tuple[np.ndarray, np.ndarray, int]]) -> Batch:
    images, stacked, keys = zip(*samples, strict=True)
    labels = np.stack(stacked)
    labels[labels == BACKGROUND] = IGNORE
    return Batch(
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
        torch.from_numpy(labels).long(),
        torch.tensor(keys),
    )


def batches(
    samples: Numbered,
    *,
    batch_size: int,
    start: int,
    stop: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
) -> Iterator[Batch]:
    """The batches of iterations start to stop; each process gets its share of the slots.

    A file that cannot be read any more is an InputError.
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
    except InputError as error:  # a worker's comes with its traceback before the sentence
        raise InputError(str(error).rpartition("InputError: ")[2].rstrip()) from None
