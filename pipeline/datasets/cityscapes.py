"""Cityscapes as downloaded: leftImg8bit and gtFine, 19 classes by cityscapesscripts' table."""

from pathlib import Path

from cityscapesscripts.helpers.labels import labels as LABELS

from pipeline.common.cli import InputError
from pipeline.datasets.base import Dataset, Pair, lookup_table, match

_TRAINED = sorted((label for label in LABELS if 0 <= label.trainId < 19), key=lambda x: x.trainId)
_IMAGE, _LABEL = "_leftImg8bit.png", "_gtFine_labelIds.png"


def pairs(root: Path, split: str) -> list[Pair]:
    found = []
    for folder, suffix in (("leftImg8bit", _IMAGE), ("gtFine", _LABEL)):
        base = root / folder / split
        if not base.is_dir():
            raise InputError(f"{base} is missing; {DATASET.source}")
        files = sorted(base.glob(f"*/*{suffix}"))
        found.append({f.name.removesuffix(suffix): f for f in files})
    return match(found[0], found[1], split)


DATASET = Dataset(
    name="cityscapes",
    classes=tuple(label.name for label in _TRAINED),
    colours=tuple(label.color for label in _TRAINED),
    lookup=lookup_table(
        {label.id: label.trainId for label in _TRAINED},
        ignored=[label.id for label in LABELS if label.id >= 0],
    ),
    pairs=pairs,
    source=(
        "Cityscapes is leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip of "
        "cityscapes-dataset.com (`csDownload` fetches them), unpacked side by side"
    ),
)
