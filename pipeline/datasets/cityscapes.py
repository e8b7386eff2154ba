"""Cityscapes as downloaded: leftImg8bit and gtFine, 19 classes by cityscapesscripts' table."""

from pathlib import Path

from cityscapesscripts.helpers.labels import labels as LABELS

from pipeline.common.cli import InputError
from pipeline.datasets.base import Dataset, Pair, lookup_table
from pipeline.datasets.files import listing, match

_TRAINED = sorted((label for label in LABELS if 0 <= label.trainId < 19), key=lambda x: x.trainId)
_IMAGES, _LABELS = ("leftImg8bit", "_leftImg8bit.png"), ("gtFine", "_gtFine_labelIds.png")
_OTHER_LABELS = ("_gtFine_labelTrainIds.png", "_gtFine_color.png", "_gtFine_polygons.json")
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
    if images and not labels:
        _refuse_other_labels(root, split)
    return [Pair(name, images[name], labels[name]) for name in match(images, labels, split)]


def _refuse_other_labels(root: Path, split: str) -> None:
    """Say which labels there are instead of those that are read."""
    for suffix in _OTHER_LABELS:
        if _files(root, (_LABELS[0], suffix), split):
            raise InputError(
                f"{root / _LABELS[0] / split} holds *{suffix}, but no *{_LABELS[1]}, which is what "
                f"is read; both are in gtFine_trainvaltest.zip, so unpack that again"
            )


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
    hints={
        255: "255 is of trainIds, the training's numbers of the classes; the labelIds of "
        "gtFine_trainvaltest.zip are read"
    },
)
