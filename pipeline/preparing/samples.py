"""Checking and decoding of samples, side by side and in their order."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pipeline.common.cli import InputError
from pipeline.datasets import Dataset, Pair, Sample, files
from pipeline.datasets.base import Pixels
from pipeline.datasets.reading import read, sample_digest
from pipeline.preparing.journal import Entry

Found = tuple[Entry | InputError, Sample | None]


def checked(dataset: Dataset, pairs: list[Pair]) -> Iterator[Found]:
    """The pairs in their order; threads do, for reading and checksums let go of Python's lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(partial(_check, dataset), pairs)


def _check(dataset: Dataset, pair: Pair) -> Found:
    """Whether the files are whole and fit each other; the digest is of the image's file."""
    try:
        if pair.label.suffix == ".png":  # whose decoder does not look at checksums
            files.checked(pair.label)
        label = read(pair, dataset).label
        return _entry(pair.name, files.checked(pair.image), label), None
    except InputError as error:
        return error, None


class _Decoded(torch.utils.data.Dataset[Found]):
    """The pairs, each decoded when asked for; the digest is of the image's pixels."""

    def __init__(self, dataset: Dataset, pairs: list[Pair]) -> None:
        self.dataset, self.pairs = dataset, pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int) -> Found:
        try:
            image, label = read(self.pairs[i], self.dataset)
            sample = Sample(np.asarray(image), label)
        except InputError as error:
            return error, None
        return _entry(self.pairs[i].name, sample.image.data, label), sample


def decoded(dataset: Dataset, pairs: list[Pair]) -> Iterator[Found]:
    """The pairs in their order, decoded side by side."""
    return iter(
        DataLoader(
            _Decoded(dataset, pairs),
            batch_size=None,
            collate_fn=_as_it_is,  # pixels go through pipes: shared memory may be small
            num_workers=os.cpu_count() or 1,  # processes, for the decoder holds Python's lock
            prefetch_factor=4,
        )
    )


def _as_it_is(found: Any) -> Any:
    return found


def _entry(name: str, image: memoryview | bytes, label: Pixels) -> Entry:
    histogram = Image.fromarray(label).histogram()  # in a third of NumPy's time
    counts = [[class_id, count] for class_id, count in enumerate(histogram) if count]
    height, width = label.shape
    return Entry(name, height, width, sample_digest(name, image, label), counts)
