"""The prepared form of a split: an index, and decoded pixels or where the published files lie.

Decoded, the images and the class ids are two flat memory-mapped files, so that only what is used
is read. Else the published files are decoded at each access, as far as they are used.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from pipeline.common.cli import InputError
from pipeline.common.files import read_json, write_json
from pipeline.datasets import DATASETS, Pair
from pipeline.datasets.base import Sample, Unread
from pipeline.datasets.reading import read


class Reference(NamedTuple):
    """A checked sample that is not decoded: its files below the dataset's folder."""

    name: str
    height: int
    width: int
    image: str
    label: str


def write_references(
    folder: Path, split: str, dataset: str, root: str, samples: Sequence[Reference]
) -> None:
    """The index of a split whose published files below `root` are read at each access."""
    write_json(folder / f"{split}.json", {"dataset": dataset, "root": root, "samples": samples})


class Writer:
    """Appends decoded samples to a split's files; the index comes last.

    `done` are the samples (name, height, width) that an earlier Writer put there; what lies behind
    them is cut off.
    """

    def __init__(self, folder: Path, split: str, done: Sequence[tuple[str, int, int]] = ()) -> None:
        self._index_file = folder / f"{split}.json"
        self._index = list(done)
        pixels = sum(height * width for _, height, width in done)
        images, labels = _files(folder, split)
        self._images, self._labels = _open(images, 3 * pixels), _open(labels, pixels)

    def add(self, name: str, sample: Sample) -> None:
        height, width = sample.label.shape
        self._index.append((name, height, width))
        for file, pixels in ((self._images, sample.image), (self._labels, sample.label)):
            file.write(np.ascontiguousarray(pixels).data)
            file.flush()

    def close(self) -> None:
        self._images.close()
        self._labels.close()
        write_json(self._index_file, {"samples": self._index})


def _files(folder: Path, split: str) -> tuple[Path, Path]:
    """Where a split's decoded images and labels lie."""
    return folder / f"{split}-images.bin", folder / f"{split}-labels.bin"


def _open(file: Path, size: int) -> BinaryIO:
    opened = file.open("ab")
    opened.truncate(size)
    return opened


def read_decoded(folder: Path, split: str, start: int, size: tuple[int, int]) -> Sample:
    """The decoded sample whose first pixel is number `start` of the split, mapped into memory."""
    images, labels = _files(folder, split)
    image = np.memmap(images, np.uint8, "r", 3 * start, (*size, 3))
    return Sample(np.asarray(image), np.asarray(np.memmap(labels, np.uint8, "r", start, size)))


class Store:
    """Random access to a prepared split; holds no pixel in memory."""

    def __init__(self, folder: Path, split: str) -> None:
        index = read_json(folder / f"{split}.json")
        self.names: list[str] = [sample[0] for sample in index["samples"]]
        self.sizes: list[tuple[int, int]] = [(s[1], s[2]) for s in index["samples"]]
        self._folder, self._split = folder, split
        self._published: tuple[str, Path] | None = None
        if "root" in index:
            self._published = index["dataset"], Path(index["root"])
            self._references = [Reference(*sample) for sample in index["samples"]]
        else:
            self._starts = np.cumsum([0, *(h * w for h, w in self.sizes)]).tolist()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> Sample | Unread:
        if self._published is None:
            return read_decoded(self._folder, self._split, self._starts[i], self.sizes[i])
        (dataset, root), sample = self._published, self._references[i]
        pair = Pair(sample.name, root / sample.image, root / sample.label)
        found = read(pair, DATASETS[dataset])
        if found.label.shape != self.sizes[i]:
            raise InputError(f"{pair.label} has changed; run `dvc repro prepare`")
        return found
