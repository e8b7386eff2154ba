"""The contract of a dataset: what pipeline.data.formats.base.Dataset promises.

A dataset of one's own needs a tree of tiny images in its layout: a function of TREES in
tests/trees.py, by its name.
"""

import shutil
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.data.formats import BACKGROUND, DATASETS, IGNORE, SPLITS, UNKNOWN, Dataset
from pipeline.data.prepared.store import Store
from pipeline.engine.errors import InputError
from pipeline.stages.prepare import prepare
from tests.contract.refusals import find_refusal

NAMES = tuple(DATASETS)


def check_classes(dataset: Dataset, root: Path) -> None:
    """Names, colours and the values of the lookup table fit each other."""
    assert len(set(dataset.classes)) == len(dataset.classes), "two classes have one name"
    assert len(dataset.colours) == len(dataset.classes), "each class needs a colour"
    ids = set(np.unique(dataset.lookup)) - {IGNORE, UNKNOWN, BACKGROUND}
    assert ids == set(range(len(dataset.classes))), "each class needs a label value, and no other"
    assert dataset.background == bool((dataset.lookup == BACKGROUND).any()), (
        "background must be scored if and only if a label value means it"
    )


def check_samples(dataset: Dataset, root: Path) -> None:
    """Names are unique and in a fixed order; images and labels are there and of one size."""
    for split in SPLITS:
        pairs = dataset.pairs(root, split)
        names = [pair.name for pair in pairs]
        assert names, f"{split} has no sample"
        assert len(set(names)) == len(names), f"{split} has a name twice"
        assert names == [pair.name for pair in dataset.pairs(root, split)], "the order changes"
        assert all(p.image.is_file() and p.label.is_file() for p in pairs), "a file is missing"


def check_prepared(dataset: Dataset, root: Path) -> None:
    """The prepared samples are RGB bytes with labels of known ids, and again the same."""
    manifests = [prepare(dataset, root, root.parent / f"out{i}") for i in range(2)]
    assert manifests[0].digest == manifests[1].digest, "a second time gives other data"
    known = {*range(len(dataset.classes)), IGNORE} | ({BACKGROUND} if dataset.background else set())
    for split in SPLITS:
        store = Store(root.parent / "out0", split)
        for i in range(len(store)):
            image, label = np.asarray(store[i].image), np.asarray(store[i].label)
            assert image.dtype == np.uint8, "an image is not of bytes"
            assert image.shape[2:] == (3,), "an image is not RGB"
            assert image.shape[:2] == label.shape, "an image and its label differ in size"
            assert set(np.unique(label)) <= known, "a label has an id that is none"


def check_refusals(dataset: Dataset, root: Path) -> None:
    """A folder without the dataset, and an image or label that is missing or broken, are refused.

    Each refusal is an InputError of one sentence that names the place.
    """
    for number, damage in enumerate((_empty, _cut_image, _cut_label, _remove_label)):
        copy = root.parent / f"damaged{number}"
        shutil.copytree(root, copy)
        place = damage(dataset, copy)
        out = root.parent / f"never{number}"
        refusal = find_refusal(partial(prepare, dataset, copy, out), InputError)
        assert refusal, f"it takes a dataset whose {place} is missing or broken"
        assert place in refusal, f"the refusal does not name {place}: {refusal}"


def _empty(_: Dataset, root: Path) -> str:
    shutil.rmtree(root)
    root.mkdir()
    return root.name


def _cut_image(dataset: Dataset, root: Path) -> str:
    file = dataset.pairs(root, "val")[0].image
    file.write_bytes(file.read_bytes()[:-30])
    return file.name


def _cut_label(dataset: Dataset, root: Path) -> str:
    file = dataset.pairs(root, "train")[0].label
    file.write_bytes(file.read_bytes()[:-30])
    return file.name


def _remove_label(dataset: Dataset, root: Path) -> str:
    pair = dataset.pairs(root, "val")[0]
    pair.label.unlink()
    return pair.image.stem[:4]


CHECKS = (check_classes, check_samples, check_prepared, check_refusals)
