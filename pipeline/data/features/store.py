"""The maps of a frozen backbone for each image of a split, and for its mirror image.

A split has two flat files of half-precision numbers, of Stage4 and of Stage5. Each image has its
maps there, and after them those of its mirror image, both with the channels last. The files are
mapped into memory, so that only what is used is read.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.engine.files import read_json, write_json

STAGES = ("stage4", "stage5")
VIEWS = 2  # the image as it is, and mirrored
Values = npt.NDArray[np.float16]
Size = tuple[int, int]  # height, width


class Maps(NamedTuple):
    """The maps of an image, or of crops of images: (..., h, w, C) of Stage4 and of Stage5."""

    stage4: Values
    stage5: Values


def locate_files(folder: Path, split: str) -> list[Path]:
    """Return the files of a split's maps, Stage4's first."""
    return [folder / f"{split}-{stage}.bin" for stage in STAGES]


def map_digest(name: str, maps: Maps) -> str:
    """Return the sha256 of an image's name, the sizes of its maps and their values."""
    content = hashlib.sha256(f"{name} {[values.shape for values in maps]}".encode())
    for values in maps:
        content.update(np.ascontiguousarray(values).data)
    return content.hexdigest()


def read_maps(
    folder: Path, split: str, start: int, size: Size, channels: Sequence[int], view: int | None
) -> Maps:
    """Map an image's maps, (h, w, C) each, or (VIEWS, h, w, C) with `view` None.

    Args:
        folder: The folder of the files.
        split: The split's name.
        start: The number of positions of all images before, one view each.
        size: Height and width of the maps.
        channels: Those of Stage4 and of Stage5.
        view: 0 for the image as it is, 1 for its mirror image, None for both.

    Raises:
        ValueError: A file is too short.
    """
    found = []
    for file, depth in zip(locate_files(folder, split), channels, strict=True):
        offset = 2 * VIEWS * start * depth
        whole = np.memmap(file, np.float16, "r", offset, (VIEWS, *size, depth))
        found.append(np.asarray(whole if view is None else whole[view]))
    return Maps(*found)


class Writer:
    """Append the maps of images to a split's files, and write the index at the end.

    Args:
        folder: The folder of the files.
        split: The split's name.
        channels: Those of Stage4 and of Stage5.
        earlier: The names and the maps' heights and widths of the images that an earlier Writer
            appended. Bytes after them are cut off.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        channels: Sequence[int],
        earlier: Sequence[tuple[str, int, int]],
    ) -> None:
        self._index_file = folder / f"{split}.json"
        self._index, self._channels = list(earlier), list(channels)
        positions = VIEWS * sum(height * width for _, height, width in earlier)
        self._streams: list[BinaryIO] = []
        for file, depth in zip(locate_files(folder, split), channels, strict=True):
            stream = file.open("ab")
            stream.truncate(2 * positions * depth)
            self._streams.append(stream)

    def add(self, name: str, maps: Maps) -> None:
        """Append the maps (VIEWS, h, w, C) of an image and flush them."""
        self._index.append((name, *maps.stage4.shape[1:3]))
        for stream, values in zip(self._streams, maps, strict=True):
            stream.write(np.ascontiguousarray(values).data)
            stream.flush()

    def close(self) -> None:
        """Write the index, which makes the split complete."""
        for stream in self._streams:
            stream.close()
        write_json(self._index_file, {"channels": self._channels, "samples": self._index})


class Features:
    """Random access to the maps of a split."""

    def __init__(self, folder: Path, split: str) -> None:
        index = read_json(folder / f"{split}.json")
        self.channels: list[int] = index["channels"]
        self.sizes: list[Size] = [(sample[1], sample[2]) for sample in index["samples"]]
        starts = np.cumsum([0, *(height * width for height, width in self.sizes)])
        self._folder, self._split, self._starts = folder, split, starts.tolist()

    def read(self, i: int, mirrored: bool = False) -> Maps:
        """Map the maps (h, w, C) of image number `i`, or of its mirror image."""
        where = self._folder, self._split, self._starts[i], self.sizes[i]
        return read_maps(*where, self.channels, int(mirrored))
