"""Write and read a prepared split: an index, with decoded pixels or the places of the files.

Decoded pixels are two flat files, of the images and of the class ids. They are mapped into memory,
so that only what is used is read. Otherwise the published files are decoded at each access, also
only as far as they are used.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from pipeline.data.formats import DATASETS, Pair
from pipeline.data.formats.base import LazySample, Sample
from pipeline.data.formats.reading import read_sample
from pipeline.engine.errors import InputError
from pipeline.engine.files import read_json, write_json


class Reference(NamedTuple):
    """A checked sample that is not decoded, with its files below the dataset's folder."""

    name: str
    height: int
    width: int
    image: str
    label: str


def write_references(
    folder: Path, split: str, dataset: str, root: str, samples: Sequence[Reference]
) -> None:
    """Write the index of a split whose published files below `root` are read at each access."""
    write_json(folder / f"{split}.json", {"dataset": dataset, "root": root, "samples": samples})


class Writer:
    """Append decoded samples to a split's files, and write the index at the end.

    Args:
        folder: The folder of the files.
        split: The split's name.
        earlier: The samples (name, height, width) that an earlier Writer appended. Bytes after
            them are cut off.
    """

    def __init__(
        self, folder: Path, split: str, earlier: Sequence[tuple[str, int, int]] = ()
    ) -> None:
        self._index_file = folder / f"{split}.json"
        self._index = list(earlier)
        pixels = sum(height * width for _, height, width in earlier)
        images, labels = _locate_files(folder, split)
        self._images, self._labels = _open_at(images, 3 * pixels), _open_at(labels, pixels)

    def add(self, name: str, sample: Sample) -> None:
        """Append a sample and flush it."""
        height, width = sample.label.shape
        self._index.append((name, height, width))
        for file, pixels in ((self._images, sample.image), (self._labels, sample.label)):
            file.write(np.ascontiguousarray(pixels).data)
            file.flush()

    def close(self) -> None:
        """Write the index, which makes the split complete."""
        self._images.close()
        self._labels.close()
        write_json(self._index_file, {"samples": self._index})


def _locate_files(folder: Path, split: str) -> tuple[Path, Path]:
    """Return the files of a split's decoded images and labels."""
    return folder / f"{split}-images.bin", folder / f"{split}-labels.bin"


def _open_at(file: Path, size: int) -> BinaryIO:
    """Open a file for appending, after cutting it to `size` bytes."""
    stream = file.open("ab")
    stream.truncate(size)
    return stream


def read_decoded(folder: Path, split: str, start: int, size: tuple[int, int]) -> Sample:
    """Map the decoded sample whose first pixel is number `start` of the split."""
    images, labels = _locate_files(folder, split)
    image = np.memmap(images, np.uint8, "r", 3 * start, (*size, 3))
    return Sample(np.asarray(image), np.asarray(np.memmap(labels, np.uint8, "r", start, size)))


class Store:
    """Random access to a prepared split, without pixels in memory."""

    def __init__(self, folder: Path, split: str) -> None:
        index = read_json(folder / f"{split}.json")
        self.names: list[str] = [sample[0] for sample in index["samples"]]
        self.sizes: list[tuple[int, int]] = [(s[1], s[2]) for s in index["samples"]]
        self._folder, self._split = folder, split
        self._origin: tuple[str, Path] | None = None
        if "root" in index:
            self._origin = index["dataset"], Path(index["root"])
            self._references = [Reference(*sample) for sample in index["samples"]]
        else:
            self._starts = np.cumsum([0, *(h * w for h, w in self.sizes)]).tolist()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> Sample | LazySample:
        if self._origin is None:
            return read_decoded(self._folder, self._split, self._starts[i], self.sizes[i])
        (dataset, root), sample = self._origin, self._references[i]
        pair = Pair(sample.name, root / sample.image, root / sample.label)
        result = read_sample(pair, DATASETS[dataset])
        if result.label.shape != self.sizes[i]:
            raise InputError(f"{pair.label} has changed; run `dvc repro prepare`")
        return result
