"""The loaders and the prepare stage: the published layouts, and every kind of bad file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.common.cli import InputError
from pipeline.datasets import BACKGROUND, DATASETS, IGNORE, UNKNOWN
from pipeline.inputs.store import Store
from pipeline.prepare import prepare
from tests.trees import TREES, camvid, image, label, pascal_context


@pytest.mark.parametrize("name", DATASETS)
def test_the_published_layout_is_read(name: str, tmp_path: Path) -> None:
    dataset, root, out = DATASETS[name], TREES[name](tmp_path / "source"), tmp_path / "out"
    out.mkdir()
    manifest = prepare(dataset, root, out)
    for split in ("train", "val"):
        store, pairs = Store(out, split), dataset.pairs(root, split)
        assert store.names == [p.name for p in pairs]
        assert len(store) == manifest["splits"][split]["count"] == len(pairs)
        pixels = np.zeros(len(dataset.classes), int)
        for pair, sample in zip(pairs, (store[i] for i in range(len(store))), strict=True):
            assert np.array_equal(sample.image, np.asarray(Image.open(pair.image)))
            assert np.array_equal(sample.label, dataset.lookup[dataset.read_labels(pair.label)])
            pixels += np.bincount(sample.label.ravel(), minlength=256)[: len(pixels)]
        assert list(manifest["splits"][split]["pixels"].values()) == pixels.tolist()


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    digests = []
    for step in range(4):
        root, out = camvid(tmp_path / f"source{step}"), tmp_path / f"out{step}"
        out.mkdir()
        if step == 2:
            label(root / "valannot" / "0001TP_000001.png", 12, seed=9)
        if step == 3:
            for folder in ("val", "valannot"):
                (root / folder / "0001TP_000002.png").rename(root / folder / "0001TP_000009.png")
        digests.append(prepare(DATASETS["camvid"], root, out)["digest"])
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_the_official_class_tables() -> None:
    names = DATASETS["cityscapes"].classes
    assert (names[0], names[6], names[18]) == ("road", "traffic light", "bicycle")
    lookup = DATASETS["cityscapes"].lookup
    assert (lookup[7], lookup[33], lookup[0], lookup[34]) == (0, 18, IGNORE, 254)
    assert (DATASETS["camvid"].lookup[10], DATASETS["camvid"].lookup[11]) == (10, IGNORE)
    names, lookup = DATASETS["ade20k"].classes, DATASETS["ade20k"].lookup
    assert len(set(names)) == 150
    assert (names[0], names[12], names[89], names[149]) == ("wall", "person", "television", "flag")
    assert (lookup[0], lookup[1], lookup[150], lookup[151]) == (IGNORE, 0, 149, 254)
    assert DATASETS["ade20k"].colours[:3] == ((128, 0, 0), (0, 128, 0), (128, 128, 0))


def test_both_forms_of_pascal_context_are_one_dataset(tmp_path: Path) -> None:
    dataset, manifests = DATASETS["pascal_context"], []
    for form in ("mat", "png"):
        root, out = pascal_context(tmp_path / form, form), tmp_path / f"out-{form}"
        out.mkdir()
        manifests.append(prepare(dataset, root, out))
        sample = Store(out, "val")[0]
        assert sorted(np.unique(sample.label)) == [0, 1, 36, 55, 58, BACKGROUND]
    assert manifests[0] == manifests[1]
    told = manifests[0]["splits"]["train"]
    assert manifests[0]["background"]
    assert told["background_pixels"] > 0 == told["ignored_pixels"]
    seen = [name for name, pixels in told["pixels"].items() if pixels]
    assert seen == ["aeroplane", "bag", "person", "wall", "wood"]
    assert list(dataset.classes) == sorted(dataset.classes)
    assert len(dataset.classes) == 59 == len(set(dataset.lookup[:460])) - 1
    assert dataset.lookup[460] == UNKNOWN == dataset.lookup[65535]


def truncate(root: Path) -> None:
    file = root / "train/0001TP_000001.png"
    file.write_bytes(file.read_bytes()[:500])


BAD: list[tuple[Callable[[Path], object], str]] = [
    (truncate, "train/0001TP_000001.png: cannot be read"),
    (
        lambda root: (root / "train/0001TP_000001.png").write_text("no image"),
        "train/0001TP_000001.png: not an image",
    ),
    (
        lambda root: (root / "trainannot/0001TP_000001.png").unlink(),
        "train/0001TP_000001.png: the image has no label",
    ),
    (
        lambda root: (root / "val/0001TP_000002.png").unlink(),
        "valannot/0001TP_000002.png: the label has no image",
    ),
    (
        lambda root: label(root / "trainannot/0001TP_000000.png", 13),
        "trainannot/0001TP_000000.png: label value 12; allowed are camvid's 0 to 11",
    ),
    (
        lambda root: label(root / "trainannot/0001TP_000000.png", 12, (72, 78)),
        "trainannot/0001TP_000000.png: 78x72, but its image is 80x72",
    ),
    (
        lambda root: image(root / "trainannot/0001TP_000000.png"),
        "trainannot/0001TP_000000.png: an RGB image; allowed are 8-bit grey label values",
    ),
    (lambda root: (root / "val").rename(root / "value"), "val is missing; CamVid is"),
    (
        lambda root: [f.unlink() for f in [*root.glob("val/*"), *root.glob("valannot/*")]],
        "the val split is empty",
    ),
]


@pytest.mark.parametrize(("spoil", "sentence"), BAD)
def test_bad_data_are_refused_by_file_name(
    spoil: Callable[[Path], object], sentence: str, tmp_path: Path
) -> None:
    root, out = camvid(tmp_path / "source"), tmp_path / "out"
    out.mkdir()
    spoil(root)
    with pytest.raises(InputError) as caught:
        prepare(DATASETS["camvid"], root, out)
    assert sentence in str(caught.value)


def test_many_bad_files_are_told_at_once(tmp_path: Path) -> None:
    root, out = camvid(tmp_path / "source"), tmp_path / "out"
    out.mkdir()
    for i in range(3, 15):
        image(root / "train" / f"0001TP_{i:06d}.png")
        label(root / "trainannot" / f"0001TP_{i:06d}.png", 200)
    with pytest.raises(InputError) as caught:
        prepare(DATASETS["camvid"], root, out)
    assert str(caught.value).startswith("12 bad files (the first 10):")
    assert str(caught.value).count("label value") == 10
