"""Cityscapes as downloaded: leftImg8bit and gtFine, 19 classes by cityscapesscripts' table."""

from pathlib import Path

from cityscapesscripts.helpers.labels import labels as LABELS

from pipeline.datasets.base import Dataset, Pair, lookup_table
from pipeline.datasets.files import listing, match

_TRAINED = sorted((label for label in LABELS if 0 <= label.trainId < 19), key=lambda x: x.trainId)
_IMAGES, _LABELS = ("leftImg8bit", "_leftImg8bit.png"), ("gtFine", "_gtFine_labelIds.png")
_DOWNLOAD = (
    "Cityscapes is leftImg8bit_trainvaltest.zip (11 GB) and gtFine_trainvaltest.zip (241 MB) of "
    "cityscapes-dataset.com (`csDownload` fetches them), unpacked side by side in one folder"
)


def _files(root: Path, kind: tuple[str, str], split: str) -> dict[str, Path]:
    folder, suffix = kind
    cities = listing(root / folder / split, "", _DOWNLOAD).values()
    found = [listing(city, suffix, _DOWNLOAD) for city in cities if city.is_dir()]
    return {name: file for files in found for name, file in files.items()}


def pairs(root: Path, split: str) -> list[Pair]:
    images, labels = (_files(root, kind, split) for kind in (_IMAGES, _LABELS))
    return [Pair(name, images[name], labels[name]) for name in match(images, labels, split)]


def test_images(root: Path) -> list[tuple[str, Path]]:
    return sorted(_files(root, _IMAGES, "test").items())


DATASET = Dataset(
    name="cityscapes",
    classes=tuple(label.name for label in _TRAINED),
    colours=tuple(label.color for label in _TRAINED),
    lookup=lookup_table(
        {label.id: label.trainId for label in _TRAINED},
        ignored=[label.id for label in LABELS if label.id >= 0],
    ),
    pairs=pairs,
    published={"train": 2975, "val": 500, "test": 1525},
    size=(1024, 2048),
    folders=("leftImg8bit", "gtFine"),
    download=_DOWNLOAD,
    test_images=test_images,
)
