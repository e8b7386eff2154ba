"""Cityscapes as downloaded: leftImg8bit and gtFine, 19 classes by cityscapesscripts' table."""

from pathlib import Path

from cityscapesscripts.helpers.labels import labels as LABELS

from pipeline.data.formats.base import Dataset, Pair, make_lookup_table
from pipeline.data.formats.files import list_files, match
from pipeline.engine.errors import InputError

_TRAIN_LABELS = sorted(
    (label for label in LABELS if 0 <= label.trainId < 19), key=lambda x: x.trainId
)
_IMAGES, _LABELS = ("leftImg8bit", "_leftImg8bit.png"), ("gtFine", "_gtFine_labelIds.png")
_OTHER_LABELS = ("_gtFine_labelTrainIds.png", "_gtFine_color.png", "_gtFine_polygons.json")
_DOWNLOAD = (
    "Cityscapes is leftImg8bit_trainvaltest.zip (11 GB) and gtFine_trainvaltest.zip (241 MB) of "
    "cityscapes-dataset.com (`csDownload` fetches them), unpacked side by side in one folder"
)


def _list_files_of_cities(root: Path, kind: tuple[str, str], split: str) -> dict[str, Path]:
    """Return the files of a kind in all cities of a split, by name."""
    folder, suffix = kind
    cities = list_files(root / folder / split, "", _DOWNLOAD).values()
    by_city = [list_files(city, suffix, _DOWNLOAD) for city in cities if city.is_dir()]
    return {name: file for files in by_city for name, file in files.items()}


def list_pairs(root: Path, split: str) -> list[Pair]:
    """Return the samples of a split in the order of their names."""
    images, labels = (_list_files_of_cities(root, kind, split) for kind in (_IMAGES, _LABELS))
    if images and not labels:
        _refuse_other_labels(root, split)
    return [Pair(name, images[name], labels[name]) for name in match(images, labels, split)]


def _refuse_other_labels(root: Path, split: str) -> None:
    """Raise an InputError if labels of another kind lie where the label ids should."""
    for suffix in _OTHER_LABELS:
        if _list_files_of_cities(root, (_LABELS[0], suffix), split):
            raise InputError(
                f"{root / _LABELS[0] / split} holds *{suffix}, but no *{_LABELS[1]}, which is what "
                f"is read; both are in gtFine_trainvaltest.zip, so unpack that again"
            )


def list_test_images(root: Path) -> list[tuple[str, Path]]:
    """Return the names and images of the test split."""
    return sorted(_list_files_of_cities(root, _IMAGES, "test").items())


DATASET = Dataset(
    name="cityscapes",
    classes=tuple(label.name for label in _TRAIN_LABELS),
    colours=tuple(label.color for label in _TRAIN_LABELS),
    lookup=make_lookup_table(
        {label.id: label.trainId for label in _TRAIN_LABELS},
        ignored=[label.id for label in LABELS if label.id >= 0],
    ),
    pairs=list_pairs,
    published_counts={"train": 2975, "val": 500, "test": 1525},
    size=(1024, 2048),
    folders=("leftImg8bit", "gtFine"),
    download=_DOWNLOAD,
    test_images=list_test_images,
    hints={255: "255 is in *_labelTrainIds.png; use *_labelIds.png of gtFine_trainvaltest.zip"},
)
