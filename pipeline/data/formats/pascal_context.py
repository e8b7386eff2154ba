"""PASCAL Context: VOC 2010's images with the 59 commonest of 459 labels; the rest is background.

The label files are the publisher's .mat files with the numbers of all 459 labels, or PNGs as other
projects merge them: 0 is background, and 1 to 59 are the classes in alphabetical order.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data.formats.base import Dataset, Pair, make_lookup_table, voc_colour
from pipeline.data.formats.files import (
    describe_missing,
    join_problems,
    list_files,
    match,
    read_labels,
)
from pipeline.engine.errors import InputError

_CLASSES = {  # with their numbers among the 459
    "aeroplane": 2,
    "bag": 9,
    "bed": 18,
    "bedclothes": 19,
    "bench": 22,
    "bicycle": 23,
    "bird": 25,
    "boat": 31,
    "book": 33,
    "bottle": 34,
    "building": 44,
    "bus": 45,
    "cabinet": 46,
    "car": 59,
    "cat": 65,
    "ceiling": 68,
    "chair": 72,
    "cloth": 80,
    "computer": 85,
    "cow": 98,
    "cup": 104,
    "curtain": 105,
    "dog": 113,
    "door": 115,
    "fence": 144,
    "floor": 158,
    "flower": 159,
    "food": 162,
    "grass": 187,
    "ground": 189,
    "horse": 207,
    "keyboard": 220,
    "light": 232,
    "motorbike": 258,
    "mountain": 259,
    "mouse": 260,
    "person": 284,
    "plate": 295,
    "platform": 296,
    "pottedplant": 308,
    "road": 324,
    "rock": 326,
    "sheep": 347,
    "shelves": 349,
    "sidewalk": 354,
    "sign": 355,
    "sky": 360,
    "snow": 366,
    "sofa": 368,
    "table": 397,
    "track": 415,
    "train": 416,
    "tree": 420,
    "truck": 424,
    "tvmonitor": 427,
    "wall": 440,
    "water": 445,
    "window": 454,
    "wood": 458,
}
_LABELS = 459
_OWN_LISTS = Path("ImageSets", "SegmentationContext")
_VARIABLE = "LabelMap"
_MERGED_VALUES = np.array([0, *_CLASSES.values()], np.uint16)  # a merged PNG's value -> number
_DOWNLOAD = (
    "download VOCtrainval_03-May-2010.tar (1.3 GB) from host.robots.ox.ac.uk/pascal/VOC and give "
    "its folder VOCdevkit/VOC2010; put the labels there: trainval.tar.gz from "
    "cs.stanford.edu/~roozbeh/pascal-context as trainval, or merged PNGs as "
    "SegmentationClassContext"
)


def _read_labels(file: Path) -> npt.NDArray[Any]:
    """Return the numbers (H, W) among the 459 labels, of a file of either kind."""
    if file.suffix == ".mat":
        return _read_mat(file)
    values = read_labels(file, modes=("L", "P"))
    if values.max() >= len(_MERGED_VALUES):
        raise InputError(
            f"{file} must have label values of 0 to {len(_CLASSES)}, got {values.max()}"
        )
    return _MERGED_VALUES[values]


def _read_mat(file: Path) -> npt.NDArray[np.uint16]:
    from scipy.io import loadmat  # here, because it is slow to import and no other dataset needs it

    try:
        values = loadmat(file, variable_names=[_VARIABLE]).get(_VARIABLE)
    except PermissionError:
        raise InputError(f"{file}: no permission to read it") from None
    except Exception as error:  # of any type, because scipy raises whatever the bytes lead to
        raise InputError(f"{file}: cannot be read as a .mat file ({error})") from None
    if values is None:
        raise InputError(f"{file} must have the variable {_VARIABLE}, as the publisher's files")
    if isinstance(values, np.ndarray) and values.ndim == 2 and values.dtype.kind in "uif":
        with np.errstate(invalid="ignore"):
            integers = values.astype(np.uint16)
        if np.array_equal(integers, values):
            return integers
    raise InputError(f"{file} must have a map of label numbers as {_VARIABLE}")


def _locate_list(root: Path, split: str) -> Path:
    """Return the file of the split's names: SegmentationContext's if it exists, otherwise VOC's."""
    own = root / _OWN_LISTS / f"{split}.txt"
    return own if own.is_file() else root / "ImageSets" / "Main" / f"{split}.txt"


def _read_names(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        raise InputError(f"{describe_missing(file)}; {_DOWNLOAD}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from None


def _locate_labels(root: Path) -> tuple[Path, dict[str, Path]]:
    """Return the folder of the labels and its files by name: the publisher's, or merged ones."""
    published, merged = root / "trainval", root / "SegmentationClassContext"
    for folder, suffix in ((published, ".mat"), (merged, ".png")):
        if folder.is_dir() and (files := list_files(folder, suffix, _DOWNLOAD)):
            return folder, files
    nested = published / published.name
    if nested.is_dir() and list_files(nested, ".mat", _DOWNLOAD):
        raise InputError(f"{published} holds no labels; move those of {nested} into it")
    return published, list_files(published, ".mat", _DOWNLOAD)


def _select_listed(files: Mapping[str, Path], names: list[str]) -> dict[str, Path]:
    return {name: files[name] for name in names if name in files}


def list_pairs(root: Path, split: str) -> list[Pair]:
    """Return the samples of a split, which are those of its list, in the order of their names."""
    images = list_files(root / "JPEGImages", ".jpg", _DOWNLOAD)
    folder, labels = _locate_labels(root)
    file = _locate_list(root, split)
    names = _read_names(file)
    missing_names = [name for name in names if name not in images and name not in labels]
    if missing_names:
        problems = [
            f"{root / 'JPEGImages' / name}.jpg: listed, but missing" for name in missing_names
        ]
        raise join_problems(problems, f"images of {split} are missing")
    images, labels = _select_listed(images, names), _select_listed(labels, names)
    try:
        common_names = match(images, labels, split)
    except InputError as error:
        if file.parent.name != "Main" or folder.name == "trainval":
            raise
        raise InputError(
            f"{error}\n{file} is VOC's own list; put the lists that were made with the labels in "
            f"{folder} into {root / _OWN_LISTS}"
        ) from None
    return [Pair(name, images[name], labels[name]) for name in common_names]


DATASET = Dataset(
    name="pascal_context",
    classes=tuple(_CLASSES),
    colours=tuple(voc_colour(i + 1) for i in range(len(_CLASSES))),
    lookup=make_lookup_table(
        {number: i for i, number in enumerate(_CLASSES.values())},
        background=range(_LABELS + 1),
        size=2**16,  # for any 16-bit number
    ),
    pairs=list_pairs,
    published_counts={"train": 4998, "val": 5105},
    size=(375, 500),
    sizes_differ=True,
    folders=("JPEGImages", "ImageSets"),
    download=_DOWNLOAD,
    background=True,
    read_labels=_read_labels,
)
