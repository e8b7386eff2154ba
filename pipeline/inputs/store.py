"""The prepared form of a split: decoded images and class ids in two flat memory-mapped files."""

from pathlib import Path

import numpy as np

from pipeline.common.files import read_json, write_json
from pipeline.datasets.base import Pixels, Sample

__all__ = ["Pixels", "Sample", "Store", "Writer"]


class Writer:
    """Appends samples to a split's files; the index comes last, so a part is never taken whole."""

    def __init__(self, folder: Path, split: str) -> None:
        self._index_file = folder / f"{split}.json"
        self._images = (folder / f"{split}-images.bin").open("wb")
        self._labels = (folder / f"{split}-labels.bin").open("wb")
        self._index: list[tuple[str, int, int]] = []

    def add(self, name: str, sample: Sample) -> None:
        height, width = sample.label.shape
        self._index.append((name, height, width))
        self._images.write(sample.image.tobytes())
        self._labels.write(sample.label.tobytes())

    def close(self) -> None:
        self._images.close()
        self._labels.close()
        write_json(self._index_file, self._index)


class Store:
    """Random access to a prepared split; holds no pixel in memory."""

    def __init__(self, folder: Path, split: str) -> None:
        index = read_json(folder / f"{split}.json")
        self.names: list[str] = [name for name, _, _ in index]
        self.sizes: list[tuple[int, int]] = [(h, w) for _, h, w in index]
        self._offsets = np.cumsum([0, *(h * w for h, w in self.sizes)])
        self._images = np.memmap(folder / f"{split}-images.bin", mode="r")
        self._labels = np.memmap(folder / f"{split}-labels.bin", mode="r")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> Sample:
        start, end = self._offsets[i : i + 2]
        size = self.sizes[i]
        image = np.asarray(self._images[3 * start : 3 * end]).reshape(*size, 3)
        return Sample(image, np.asarray(self._labels[start:end]).reshape(size))
