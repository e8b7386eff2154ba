"""What a dataset has to say of itself: its classes, its label values and where its files lie."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ann.loss import IGNORE_INDEX
from pipeline.datasets.files import ImageFile, read_labels

SPLITS = ("train", "val")
IGNORE = IGNORE_INDEX
UNKNOWN = 254  # in a lookup table: a value that must not occur in a label file
BACKGROUND = 253  # labelled as none of the classes: scored where the dataset has it, not trained

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]


class Pair(NamedTuple):
    """One sample: its name within the split, its image and its label file."""

    name: str
    image: Path
    label: Path


class Sample(NamedTuple):
    """image (H, W, 3) RGB, label (H, W) of class ids, IGNORE and BACKGROUND."""

    image: Pixels
    label: Pixels


class Unread(NamedTuple):
    """A Sample whose image is decoded where it is used, as far as it is used."""

    image: ImageFile
    label: Pixels


@dataclass(frozen=True)
class Dataset:
    """lookup maps a raw label value to a class id, IGNORE, BACKGROUND or UNKNOWN.

    pairs(root, split) lists a split's samples in a fixed order; it raises InputError where the
    folder is not as its publisher ships it. test_images(root) lists the names and images of a test
    split without labels. read_labels(file) returns the raw values (H, W). published are the
    numbers of images per split, folders what the root holds, download what to get and from whom.
    size is the height and width of an image; where sizes_differ, our estimate of a mean one.
    hints say, for a value that must not occur in a label file, what usually puts it there.
    """

    name: str
    classes: tuple[str, ...]
    colours: tuple[Colour, ...]
    lookup: Pixels
    pairs: Callable[[Path, str], list[Pair]]
    published: Mapping[str, int]
    size: tuple[int, int]
    folders: tuple[str, ...]
    download: str
    sizes_differ: bool = False
    background: bool = False
    read_labels: Callable[[Path], npt.NDArray[Any]] = read_labels
    test_images: Callable[[Path], list[tuple[str, Path]]] | None = None
    hints: Mapping[int, str] = field(default_factory=dict)


def lookup_table(
    values: Mapping[int, int],
    *,
    ignored: Iterable[int] = (),
    background: Iterable[int] = (),
    size: int = 256,
) -> Pixels:
    """values: label value -> class id; ignored, background: values that are known as such."""
    table = np.full(size, UNKNOWN, dtype=np.uint8)
    table[list(ignored)] = IGNORE
    table[list(background)] = BACKGROUND
    for value, class_id in values.items():
        table[value] = class_id
    return table


def voc_colour(number: int) -> Colour:
    """The colour of a label in the VOC colour map, which spreads the number's bits."""
    red, green, blue = (
        sum((number >> (3 * place + channel) & 1) << (7 - place) for place in range(8))
        for channel in range(3)
    )
    return red, green, blue
