"""Datasets that are not quite as published: each gets the sentence that helps."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.data.formats import DATASETS
from pipeline.stages.prepare import prepare
from tests.conftest import ROOT, Clone
from tests.test_datasets import make, refusal
from tests.trees import camvid


def move(old: Path, new: Path) -> None:
    new.parent.mkdir(parents=True, exist_ok=True)
    old.rename(new)


@pytest.mark.parametrize("name", DATASETS)
def test_parts_in_folders_of_their_own_are_found(name: str, tmp_path: Path) -> None:
    dataset, root = make(name, tmp_path)
    for part in dataset.folders:
        move(root / part, root / f"unpacked_{part}" / part)
    (root / "__MACOSX" / dataset.folders[0]).mkdir(parents=True)
    expected = ", ".join(f"{part} in {root}/unpacked_{part}" for part in dataset.folders)
    assert f"parts lie apart: {expected}; move them side by side" in refusal(dataset, root)
    inside = root / f"unpacked_{dataset.folders[0]}"
    assert "parts lie apart" in refusal(dataset, inside)


@pytest.mark.parametrize("name", DATASETS)
def test_a_root_two_levels_too_high_is_told_the_right_one(name: str, tmp_path: Path) -> None:
    dataset, root = make(name, tmp_path)
    move(root, tmp_path / "top/VOCdevkit/VOC2010")
    told = refusal(dataset, tmp_path / "top")
    assert f"give '{tmp_path}/top/VOCdevkit/VOC2010', which holds" in told


@pytest.mark.parametrize("kind", ["labelTrainIds.png", "color.png", "polygons.json"])
def test_other_labels_of_cityscapes_are_told_from_those_that_are_read(
    kind: str, tmp_path: Path
) -> None:
    dataset, root = make("cityscapes", tmp_path)
    for file in root.rglob("*_gtFine_*"):
        if not file.name.endswith("_labelIds.png"):
            file.unlink()
    for file in root.rglob("*_gtFine_labelIds.png"):
        file.rename(file.with_name(file.name.replace("labelIds.png", kind)))
    told = refusal(dataset, root)
    assert f"gtFine/train holds *_gtFine_{kind}, but no *_gtFine_labelIds.png" in told


@pytest.mark.parametrize(
    ("name", "hint"),
    [("cityscapes", "255 is in *_labelTrainIds.png"), ("ade20k", "reduced by one")],
)
def test_labels_in_other_numbers_are_recognised(name: str, hint: str, tmp_path: Path) -> None:
    dataset, root = make(name, tmp_path)
    file = dataset.pairs(root, "train")[0].label
    values = np.asarray(Image.open(file)).copy()
    values[:5] = 255
    Image.fromarray(values).save(file)
    told = refusal(dataset, root)
    assert f"{file} must have " in told
    assert ", got 255 (" in told
    assert hint in told


def test_merged_labels_of_context_are_used_whatever_else_is_empty(tmp_path: Path) -> None:
    dataset, root = make("pascal_context png", tmp_path)
    (root / "trainval").mkdir()
    pairs = dataset.pairs(root, "train")
    assert len(pairs) == 4
    pairs[0].label.unlink()
    told = refusal(dataset, root)
    assert f"{pairs[0].image}: the image has no label" in told
    assert "ImageSets/Main/train.txt is VOC's own list; put the lists that were made" in told
    assert f"into {root}/ImageSets/SegmentationContext" in told


def test_labels_of_context_a_level_too_deep_are_found(tmp_path: Path) -> None:
    dataset, root = make("pascal_context", tmp_path)
    move(root / "trainval", root / "moved")
    move(root / "moved", root / "trainval/trainval")
    assert f"move those of {root}/trainval/trainval into it" in refusal(dataset, root)


def leave_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def leave_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("gone/a.png")


def leave_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("half", ["image", "label"])
@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (leave_folder, "{} must be a regular file"),
        (leave_link, "{} is a link to gone/a.png, which is missing"),
        (leave_pipe, "{} must be a regular file"),
    ],
)
def test_what_is_no_file_is_named(
    spoil: Callable[[Path], None], sentence: str, half: str, tmp_path: Path
) -> None:
    dataset, root = make("camvid", tmp_path)
    file = getattr(dataset.pairs(root, "train")[1], half)
    spoil(file)
    assert sentence.format(file) in refusal(dataset, root)


def test_names_that_are_no_utf8_are_refused_in_the_dataset_and_spared_beside_it(
    tmp_path: Path,
) -> None:
    dataset, root = make("camvid", tmp_path)
    odd = os.fsdecode(b"\xff")
    (root / f"train/{odd}.txt").write_text("no part of it")
    (root / odd).mkdir()
    (root / "gone").symlink_to("nowhere")
    (root / "CamVid.zip").write_text("left over")
    os.mkfifo(root / "pipe")
    prepare(dataset, root, tmp_path / "prepared")
    for pair in (dataset.pairs(root, "train")[1],):
        for file in (pair.image, pair.label):
            file.rename(file.with_name(f"{odd}.png"))
    told = refusal(dataset, root)
    assert "its name must be UTF-8; rename it" in told
    assert told.startswith("1 names in train")


@pytest.mark.slow
def test_leftovers_in_the_repository_cost_dvc_nothing(tmp_path: Path) -> None:
    repository = Clone(tmp_path)
    dvc = (sys.executable, "-m", "dvc")
    repository.run(*dvc, "init", "--quiet", "--no-scm")
    shutil.copy(ROOT / ".dvcignore", tmp_path)
    root = camvid(tmp_path / "data")
    stage = {"cmd": "true", "deps": ["data"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"prepare": stage}}))
    repository.run(*dvc, "repro", "--quiet")
    leftovers = [
        "CamVid.zip",
        "train/old.tar.gz",
        "train/._a.png",
        "val/.DS_Store",
        "__MACOSX/a.png",
    ]
    for name in leftovers:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("left over")
    assert "up to date" in repository.run(*dvc, "status")
    (root / "train/0001TP_000009.png").write_text("part of it")
    assert "changed deps" in repository.run(*dvc, "status")
