"""Load batches in an order that is a pure function of (seed, iteration, slot).

Sample number k = iteration * batch_size + slot runs through one permutation after the other.
Nothing depends on the number of workers or processes. There is no state to save, because a run can
start at any iteration.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.data.features.store import Features, Maps
from pipeline.data.formats.base import BACKGROUND, IGNORE
from pipeline.data.prepared.store import Store
from pipeline.data.samples.augment import augment, augment_maps
from pipeline.data.samples.workers import read_ahead
from pipeline.settings.schema import Augment

Pair = tuple[Tensor, Tensor]


class Batch(NamedTuple):
    """The samples of an iteration, or a part of them.

    Attributes:
        images: (B, 3, H, W) uint8, or the backbone's maps of them, Stage4 and Stage5, (B, C, h, w)
            float16 each; all channels last.
        labels: (B, H, W) uint8, which takes little of shared memory and of a GPU's bus.
        sample_ids: (B,) int64.
    """

    images: Tensor | Pair
    labels: Tensor
    sample_ids: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        images, labels, sample_ids = (
            value.to(device, non_blocking=True)
            if isinstance(value, Tensor)
            else tuple(maps.to(device, non_blocking=True) for maps in value)
            for value in self
        )
        return Batch(images, labels, sample_ids)  # type: ignore[arg-type]

    def split(self, size: int) -> list["Batch"]:
        """Return parts of at most `size` samples."""
        if isinstance(self.images, Tensor):
            images: Sequence[Tensor | Pair] = self.images.split(size)
        else:
            images = list(zip(*(maps.split(size) for maps in self.images), strict=True))
        parts = images, self.labels.split(size), self.sample_ids.split(size)
        return [Batch(*part) for part in zip(*parts, strict=True)]


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


class Cached(NamedTuple):
    """The maps of the backbone, computed before, and the distance of their positions in pixels."""

    features: Features
    stride: int


class NumberedSamples(Dataset[tuple[np.ndarray | Maps, np.ndarray, int]]):
    """Augmented samples by their number in the run, with an id for randomness in the network.

    A sample is an image, or with `cached` the backbone's maps of it, and a label.
    """

    def __init__(
        self, store: Store, options: Augment, seed: int, cached: Cached | None = None
    ) -> None:
        self.store, self.options, self.seed, self.cached = store, options, seed, cached

    def __getitem__(self, number: int) -> tuple[np.ndarray | Maps, np.ndarray, int]:
        rng = np.random.default_rng((self.seed, 1, number))
        sample_id = int(rng.integers(2**63))
        index = sample_index(self.seed, number, len(self.store))
        image: np.ndarray | Maps
        if self.cached is None:
            image, label = augment(self.store[index], self.options, rng)
        else:
            features, stride = self.cached
            label = self.store[index].label
            image, label = augment_maps(features, index, label, self.options, stride, rng)
        return image, label, sample_id


def stack_maps(maps: Sequence[Maps]) -> Pair:
    """Return maps (h, w, C) of one size as two tensors (B, C, h, w), channels last."""
    stage4, stage5 = (torch.from_numpy(np.stack(values)) for values in zip(*maps, strict=True))
    return stage4.permute(0, 3, 1, 2), stage5.permute(0, 3, 1, 2)


def _collate(samples: list[tuple[np.ndarray | Maps, np.ndarray, int]]) -> Batch:
    """Stack samples to a batch, which ignores background."""
    images, label_maps, sample_ids = zip(*samples, strict=True)
    labels = np.stack(label_maps)
    labels[labels == BACKGROUND] = IGNORE
    cached = isinstance(images[0], Maps)
    return Batch(
        stack_maps(images) if cached else torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
        torch.from_numpy(labels),
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
    yield from read_ahead(loader)


def count_bytes(sample: tuple[np.ndarray | Maps, np.ndarray, int]) -> int:
    """Return the bytes of a sample."""
    image, label, _ = sample
    return label.nbytes + sum(
        values.nbytes for values in ([image] if isinstance(image, np.ndarray) else image)
    )
