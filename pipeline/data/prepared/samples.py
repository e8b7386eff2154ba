"""Check and decode samples, in parallel but in their order."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pipeline.data.formats import Dataset, Pair, Sample, files
from pipeline.data.formats.base import Pixels
from pipeline.data.formats.reading import read_sample, sample_digest
from pipeline.data.prepared.journal import Entry
from pipeline.engine.cores import count_cores
from pipeline.engine.errors import InputError

Result = tuple[Entry | InputError, Sample | None]


def check_samples(dataset: Dataset, pairs: list[Pair]) -> Iterator[Result]:
    """Yield an entry or an error for each pair, in order.

    Threads are enough, because reading and checksums release Python's lock.
    """
    with ThreadPoolExecutor(count_cores()) as pool:
        yield from pool.map(partial(_check_sample, dataset), pairs)


def _check_sample(dataset: Dataset, pair: Pair) -> Result:
    """Check that the files are intact and fit each other; the digest is of the image's file."""
    try:
        if pair.label.suffix == ".png":  # because the decoder reads no checksums
            files.read_intact(pair.label)
        label = read_sample(pair, dataset).label
        return _make_entry(pair.name, files.read_intact(pair.image), label), None
    except InputError as error:
        return error, None


class _DecodedSamples(torch.utils.data.Dataset[Result]):
    """The pairs, each decoded on access; the digest is of the image's pixels."""

    def __init__(self, dataset: Dataset, pairs: list[Pair]) -> None:
        self.dataset, self.pairs = dataset, pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int) -> Result:
        try:
            image, label = read_sample(self.pairs[i], self.dataset)
            sample = Sample(np.asarray(image), label)
        except InputError as error:
            return error, None
        return _make_entry(self.pairs[i].name, sample.image.data, label), sample


def decode_samples(dataset: Dataset, pairs: list[Pair]) -> Iterator[Result]:
    """Yield an entry with its sample, or an error, for each pair, in order."""
    return iter(
        DataLoader(
            _DecodedSamples(dataset, pairs),
            batch_size=None,
            collate_fn=_return_unchanged,  # through pipes, because shared memory may be small
            num_workers=count_cores(),  # processes, because the decoder holds Python's lock
            prefetch_factor=4,
        )
    )


def _return_unchanged(result: Any) -> Any:
    return result


def _make_entry(name: str, image: memoryview | bytes, label: Pixels) -> Entry:
    histogram = Image.fromarray(label).histogram()  # three times as fast as NumPy
    counts = [[class_id, count] for class_id, count in enumerate(histogram) if count]
    height, width = label.shape
    return Entry(name, height, width, sample_digest(name, image, label), counts)
