"""What a dataset has to say of itself: its classes, its label values and where its files lie."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ann.loss import IGNORE_INDEX
from pipeline.common.cli import InputError

SPLITS = ("train", "val")
IGNORE = IGNORE_INDEX
BACKGROUND = 253  # in prepared labels: scored where the dataset has it, never trained
UNKNOWN = 254  # in a lookup table: a value that must not occur in a label file


class Pair(NamedTuple):
    """One sample: its name within the split, its image and its label file."""

    name: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Dataset:
    """lookup maps the 256 values of a label file to class ids, IGNORE or UNKNOWN.

    pairs(root, split) lists a split's samples in a fixed order; it raises InputError where the
    folder is not as its publisher ships it. source tells where to get it.
    """

    name: str
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    lookup: npt.NDArray[np.uint8]
    pairs: Callable[[Path, str], list[Pair]]
    source: str


def lookup_table(values: Mapping[int, int], ignored: Iterable[int]) -> npt.NDArray[np.uint8]:
    """values: label value -> class id; ignored: the values that are known and not scored."""
    table = np.full(256, UNKNOWN, dtype=np.uint8)
    table[list(ignored)] = IGNORE
    for value, class_id in values.items():
        table[value] = class_id
    return table


def match(images: Mapping[str, Path], labels: Mapping[str, Path], split: str) -> list[Pair]:
    """Pair by name, in the order of the names; refuse an empty split and a file left alone."""
    if not images and not labels:
        raise InputError(f"the {split} split is empty")
    for have, lack, what, missing in (
        (images, labels, "image", "label"),
        (labels, images, "label", "image"),
    ):
        alone = sorted(have.keys() - lack.keys())
        if alone:
            more = f" ({len(alone)} such files)" if len(alone) > 1 else ""
            raise InputError(f"{have[alone[0]]}: the {what} has no {missing}{more}")
    return [Pair(name, images[name], labels[name]) for name in sorted(images)]
