"""Define what describes a dataset: its classes, its label values and where its files lie."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.data.formats.files import ImageFile, read_labels

SPLITS = ("train", "val")
IGNORE = 255  # ann.IGNORE_INDEX, without an import of PyTorch
UNKNOWN = 254  # in a lookup table: a value that must not occur in a label file
BACKGROUND = 253  # labelled as none of the classes: scored if the dataset has it, never trained

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]


class Pair(NamedTuple):
    """One sample: its name within the split, its image and its label file."""

    name: str
    image: Path
    label: Path


class Sample(NamedTuple):
    """An RGB image (H, W, 3), and its label (H, W) of class ids, IGNORE and BACKGROUND."""

    image: Pixels
    label: Pixels


class LazySample(NamedTuple):
    """A Sample whose image is decoded when it is used, and only as far as it is used."""

    image: ImageFile
    label: Pixels


@dataclass(frozen=True)
class Dataset:
    """Everything that the stages need to know of a dataset.

    Attributes:
        name: Its name in params.yaml.
        classes: The classes' names, in the order of their ids.
        colours: The classes' colours in pictures.
        lookup: Maps a raw label value to a class id, IGNORE, BACKGROUND or UNKNOWN.
        pairs: Lists the samples of a root's split in a fixed order. It raises InputError if the
            folder is not as its publisher ships it.
        published_counts: The number of images in each split, as published.
        size: Height and width of an image, or our estimate of a mean one if `sizes_differ`.
        folders: The folders that the root holds.
        download: What to get, and from whom.
        sizes_differ: Whether the images have several sizes.
        background: Whether pixels of no class are scored.
        read_labels: Returns the raw values (H, W) of a label file.
        test_images: Lists the names and images of a root's test split, which has no labels.
        hints: What usually puts a value into a label file that must not be there.
    """

    name: str
    classes: tuple[str, ...]
    colours: tuple[Colour, ...]
    lookup: Pixels
    pairs: Callable[[Path, str], list[Pair]]
    published_counts: Mapping[str, int]
    size: tuple[int, int]
    folders: tuple[str, ...]
    download: str
    sizes_differ: bool = False
    background: bool = False
    read_labels: Callable[[Path], npt.NDArray[Any]] = read_labels
    test_images: Callable[[Path], list[tuple[str, Path]]] | None = None
    hints: Mapping[int, str] = field(default_factory=dict)


def make_lookup_table(
    values: Mapping[int, int],
    *,
    ignored: Iterable[int] = (),
    background: Iterable[int] = (),
    size: int = 256,
) -> Pixels:
    """Return the table of a `Dataset.lookup`.

    Args:
        values: The class id of each raw label value.
        ignored: Raw values that become IGNORE.
        background: Raw values that become BACKGROUND.
        size: The number of raw values; all that are named nowhere become UNKNOWN.
    """
    table = np.full(size, UNKNOWN, dtype=np.uint8)
    table[list(ignored)] = IGNORE
    table[list(background)] = BACKGROUND
    for value, class_id in values.items():
        table[value] = class_id
    return table


def voc_colour(number: int) -> Colour:
    """Return the colour of a label in the VOC colour map, which spreads the number's bits."""
    red, green, blue = (
        sum((number >> (3 * place + channel) & 1) << (7 - place) for place in range(8))
        for channel in range(3)
    )
    return red, green, blue
