"""PASCAL Context: VOC 2010's images with the 59 commonest of 459 labels; the others are background.

Labels are the publisher's .mat files in the 459 labels' numbers, or PNGs merged to 0 (background)
and 1 to 59 in the alphabetical order of the classes, as other projects have them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.common.cli import InputError
from pipeline.datasets.base import Dataset, Pair, lookup_table, voc_colour
from pipeline.datasets.files import listing, match, missing, read_labels, several

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
_MERGED = np.array([0, *_CLASSES.values()], np.uint16)  # a merged PNG's value -> number
_DOWNLOAD = (
    "PASCAL Context is VOCtrainval_03-May-2010.tar (1.3 GB) of host.robots.ox.ac.uk/pascal/VOC, "
    "whose folder VOCdevkit/VOC2010 is to be given, and in it trainval.tar.gz of "
    "cs.stanford.edu/~roozbeh/pascal-context, unpacked to the folder trainval, or merged labels "
    "in SegmentationClassContext"
)


def _read_labels(file: Path) -> npt.NDArray[Any]:
    if file.suffix == ".mat":
        return _read_mat(file)
    values = read_labels(file, modes=("L", "P"))
    if values.max() >= len(_MERGED):
        raise InputError(f"{file}: label value {values.max()}; allowed are 0 to {len(_CLASSES)}")
    return _MERGED[values]


def _read_mat(file: Path) -> npt.NDArray[np.uint16]:
    from scipy.io import loadmat  # slow to import, and no other dataset's

    try:
        values = loadmat(file, variable_names=[_VARIABLE]).get(_VARIABLE)
    except PermissionError:
        raise InputError(f"{file}: no permission to read it") from None
    except Exception as error:  # scipy raises whatever the bytes lead to
        raise InputError(f"{file}: cannot be read as a .mat file ({error})") from None
    if values is None:
        raise InputError(f"{file}: no variable {_VARIABLE}; allowed are the publisher's files")
    if isinstance(values, np.ndarray) and values.ndim == 2 and values.dtype.kind in "uif":
        with np.errstate(invalid="ignore"):
            whole = values.astype(np.uint16)
        if np.array_equal(whole, values):
            return whole
    raise InputError(f"{file}: {_VARIABLE} holds other things than a map of label numbers")


def _list(root: Path, split: str) -> Path:
    """The split's list: that of SegmentationContext where somebody made one, else VOC's own."""
    own = root / _OWN_LISTS / f"{split}.txt"
    return own if own.is_file() else root / "ImageSets" / "Main" / f"{split}.txt"


def _names(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        raise InputError(f"{missing(file)}; {_DOWNLOAD}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from None


def _labels(root: Path) -> tuple[Path, dict[str, Path]]:
    """The folder of the labels, and its files by name: the publisher's, else merged ones."""
    published, merged = root / "trainval", root / "SegmentationClassContext"
    for folder, suffix in ((published, ".mat"), (merged, ".png")):
        if folder.is_dir() and (files := listing(folder, suffix, _DOWNLOAD)):
            return folder, files
    nested = published / published.name
    if nested.is_dir() and listing(nested, ".mat", _DOWNLOAD):
        raise InputError(f"{published} holds no labels; move those of {nested} into it")
    return published, listing(published, ".mat", _DOWNLOAD)


def _listed(files: Mapping[str, Path], names: list[str]) -> dict[str, Path]:
    return {name: files[name] for name in names if name in files}


def pairs(root: Path, split: str) -> list[Pair]:
    images = listing(root / "JPEGImages", ".jpg", _DOWNLOAD)
    folder, labels = _labels(root)
    file = _list(root, split)
    names = _names(file)
    lost = [name for name in names if name not in images and name not in labels]
    if lost:
        problems = [f"{root / 'JPEGImages' / name}.jpg: listed, but missing" for name in lost]
        raise several(problems, f"images of {split} are missing")
    images, labels = _listed(images, names), _listed(labels, names)
    try:
        matched = match(images, labels, split)
    except InputError as error:
        if file.parent.name != "Main" or folder.name == "trainval":
            raise
        raise InputError(
            f"{error}\n{file} is VOC's own list; put the lists that were made with the labels in "
            f"{folder} into {root / _OWN_LISTS}"
        ) from None
    return [Pair(name, images[name], labels[name]) for name in matched]


DATASET = Dataset(
    name="pascal_context",
    classes=tuple(_CLASSES),
    colours=tuple(voc_colour(i + 1) for i in range(len(_CLASSES))),
    lookup=lookup_table(
        {number: i for i, number in enumerate(_CLASSES.values())},
        background=range(_LABELS + 1),
        size=2**16,  # any 16-bit number may be looked up
    ),
    pairs=pairs,
    published={"train": 4998, "val": 5105},
    size=(375, 500),
    sizes_differ=True,
    folders=("JPEGImages", "ImageSets"),
    download=_DOWNLOAD,
    background=True,
    read_labels=_read_labels,
)
