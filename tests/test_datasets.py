"""The datasets in their published layouts, and every kind of bad file."""

import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from pipeline.data.formats import BACKGROUND, DATASETS, IGNORE, UNKNOWN, Dataset, Pair
from pipeline.data.prepared.store import Store
from pipeline.data.samples.loader import NumberedSamples, load_batches
from pipeline.engine.errors import InputError
from pipeline.stages.prepare import prepare
from tests.test_inputs import RECIPE
from tests.trees import TREES, image, label, pascal_context, png

FORMS = {**TREES, "pascal_context png": partial(pascal_context, form="png")}
PNG_LABELS = [name for name in FORMS if name != "pascal_context"]


def make(form: str, root: Path) -> tuple[Dataset, Path]:
    """The dataset and a tree of it below `root`."""
    return DATASETS[form.split()[0]], FORMS[form](root / "source")


def refusal(dataset: Dataset, root: Path) -> str:
    """What prepare says when it refuses `root`; nothing may be left that looks complete."""
    out = root.parent / "out"
    with pytest.raises(InputError) as caught:
        prepare(dataset, root, out)
    assert not out.exists()
    return str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_the_published_layout_is_read(form: str, tmp_path: Path) -> None:
    dataset, root = make(form, tmp_path)
    manifest = prepare(dataset, root, tmp_path / "out")
    assert manifest.background == (dataset.name == "pascal_context")
    for split in ("train", "val"):
        store, pairs = Store(tmp_path / "out", split), dataset.pairs(root, split)
        assert store.names == sorted(p.name for p in pairs)
        told = getattr(manifest.splits, split)
        assert len(store) == told.count == len(pairs) > 1
        pixels = np.zeros(256, int)
        for pair, sample in zip(pairs, (store[i] for i in range(len(store))), strict=True):
            if pair.label.suffix == ".mat":
                values = loadmat(pair.label)["LabelMap"]
            else:
                values = np.asarray(Image.open(pair.label))
            if not form.endswith(" png"):  # whose values are not the lookup's
                assert np.array_equal(sample.label, dataset.lookup[values])
            assert np.array_equal(sample.image, np.asarray(Image.open(pair.image)))
            pixels += np.bincount(sample.label.ravel(), minlength=256)
        assert list(told.pixels.values()) == pixels[: len(dataset.classes)].tolist()
        assert told.background_pixels == pixels[BACKGROUND]
        assert told.ignored_pixels == pixels[IGNORE]


def test_both_forms_of_pascal_context_are_one_dataset(tmp_path: Path) -> None:
    manifests = []
    for form in ("pascal_context", "pascal_context png"):
        dataset, root = make(form, tmp_path / form)
        manifests.append(prepare(dataset, root, tmp_path / form / "out"))
        sample = Store(tmp_path / form / "out", "val")[0]
        assert sorted(np.unique(sample.label)) == [0, 1, 36, 55, 58, BACKGROUND]
    assert manifests[0] == manifests[1]
    told = manifests[0].splits.train
    assert told.background_pixels > 0 == told.ignored_pixels
    seen = [name for name, pixels in told.pixels.items() if pixels]
    assert seen == ["aeroplane", "bag", "person", "wall", "wood"]


def test_a_list_for_segmentation_goes_before_vocs_own(tmp_path: Path) -> None:
    dataset, root = make("pascal_context", tmp_path)
    own = root / "ImageSets/SegmentationContext/val.txt"
    own.parent.mkdir()
    own.write_text("2009_000001\n", encoding="utf-8")
    assert [p.name for p in dataset.pairs(root, "val")] == ["2009_000001"]
    own.write_text("2009_000001\n2009_999999\n", encoding="utf-8")
    assert "JPEGImages/2009_999999.jpg: listed, but missing" in refusal(dataset, root)


def test_the_official_class_tables() -> None:
    names, lookup = DATASETS["cityscapes"].classes, DATASETS["cityscapes"].lookup
    assert (names[0], names[6], names[18]) == ("road", "traffic light", "bicycle")
    assert (lookup[7], lookup[33], lookup[0], lookup[34]) == (0, 18, IGNORE, UNKNOWN)
    assert (DATASETS["camvid"].lookup[10], DATASETS["camvid"].lookup[11]) == (10, IGNORE)
    names, lookup = DATASETS["ade20k"].classes, DATASETS["ade20k"].lookup
    assert (names[0], names[12], names[89], names[149]) == ("wall", "person", "television", "flag")
    assert (lookup[0], lookup[1], lookup[150], lookup[151]) == (IGNORE, 0, 149, UNKNOWN)
    assert DATASETS["ade20k"].colours[:3] == ((128, 0, 0), (0, 128, 0), (128, 128, 0))
    names, lookup = DATASETS["pascal_context"].classes, DATASETS["pascal_context"].lookup
    assert list(names) == sorted(names)
    assert (lookup[0], lookup[1], lookup[2], lookup[458]) == (BACKGROUND, BACKGROUND, 0, 58)
    assert (lookup[459], lookup[460], lookup[65535]) == (BACKGROUND, UNKNOWN, UNKNOWN)
    for dataset, count in zip(DATASETS.values(), (19, 11, 150, 59), strict=True):
        assert len(dataset.classes) == len(set(dataset.classes)) == count
        assert len(dataset.colours) == count
        assert set(dataset.lookup.tolist()) - {IGNORE, BACKGROUND, UNKNOWN} == set(range(count))


def test_the_test_split_of_cityscapes_has_no_labels(tmp_path: Path) -> None:
    dataset, root = make("cityscapes", tmp_path)
    assert dataset.test_images is not None
    listed = dataset.test_images(root)
    assert [name for name, _ in listed] == ["berlin_000000_000019", "berlin_000001_000019"]
    assert all(file.parent == root / "leftImg8bit/test/berlin" for _, file in listed)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    """One bit of the pixels' data, which still decode."""
    content = bytearray(file.read_bytes())
    content[content.index(b"IDAT") + 60] ^= 1
    file.write_bytes(content)


def repack(file: Path, data: bytes | None) -> None:
    """A PNG of right checksums, with other data for its pixels, or none."""
    width, height = Image.open(file).size
    start = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = [] if data is None else [(b"IDAT", zlib.compress(data))]
    file.write_bytes(png((b"IHDR", start), *pixels, (b"IEND", b"")))


def regrey(file: Path, mode: str) -> None:
    """The same label values in another kind of PNG."""
    values = np.asarray(Image.open(file))
    if mode == "I;16":
        Image.fromarray(values.astype(np.uint16)).save(file)
    elif mode == "P":
        image = Image.fromarray(values)
        image.putpalette(list(range(256)) * 3)
        image.save(file)
    else:
        Image.fromarray(values).convert(mode).save(file)


def raise_value(pair: Pair) -> None:
    """One pixel gets a value beyond the published ones."""
    if pair.label.suffix == ".mat":
        savemat(pair.label, {"LabelMap": loadmat(pair.label)["LabelMap"] * 0 + 460})
        return
    values = np.asarray(Image.open(pair.label)).copy()
    values[3, 4] = values.max() + 1
    Image.fromarray(values).save(pair.label)


BAD: dict[str, tuple[Callable[[Pair], object], str]] = {
    "cut image": (lambda p: cut(p.image), "{image}: cannot be read ("),
    "cut label": (lambda p: cut(p.label), "{label}: cannot be read "),
    "empty file": (lambda p: p.image.write_bytes(b""), "{image} must be an image"),
    "text": (
        lambda p: p.image.write_text("no image", encoding="utf-8"),
        "{image} must be an image",
    ),
    "lost label": (lambda p: p.label.unlink(), "{image}: the image has no label"),
    "lost image": (lambda p: p.image.unlink(), "{label}: the label has no image"),
    "other size": (
        lambda p: image(p.image, (50, 60)),
        "{label} must have the size of its image, 60x50, got ",
    ),
    "high value": (raise_value, "{label} must have "),
}
BAD_PNG: dict[str, tuple[Callable[[Pair], object], str]] = {
    "16 bits": (lambda p: regrey(p.label, "I;16"), "{label} must hold 8-bit grey"),
    "RGBA": (lambda p: regrey(p.label, "RGBA"), "{label} must hold 8-bit grey"),
    "palette": (lambda p: regrey(p.label, "P"), "{label} must hold 8-bit grey"),
    "flipped label": (lambda p: flip(p.label), "{label}: cannot be read "),
}
BAD_PNG_IMAGE: dict[str, tuple[Callable[[Pair], object], str]] = {
    "flipped image": (lambda p: flip(p.image), "{image}: cannot be read (broken PNG"),
    "no pixels": (lambda p: repack(p.image, None), "{image}: cannot be read (cannot load this"),
}
CASES = [(form, kind) for form in FORMS for kind in BAD]
CASES += [(form, kind) for form in PNG_LABELS for kind in BAD_PNG]
CASES += [(form, kind) for form in ("cityscapes", "camvid") for kind in BAD_PNG_IMAGE]
CASES.remove(("pascal_context png", "palette"))  # as others ship them


@pytest.mark.parametrize(("form", "kind"), CASES)
def test_a_bad_file_is_refused_by_its_name(form: str, kind: str, tmp_path: Path) -> None:
    dataset, root = make(form, tmp_path)
    pair = dataset.pairs(root, "train")[1]
    spoil, sentence = (BAD | BAD_PNG | BAD_PNG_IMAGE)[kind]
    spoil(pair)
    told = refusal(dataset, root)
    assert sentence.format(image=pair.image, label=pair.label) in told
    assert told.startswith("1 ")
    assert not list(tmp_path.rglob("*.bin"))  # nothing was decoded before


def test_a_png_that_only_its_decoder_finds_bad_is_named(tmp_path: Path) -> None:
    dataset, root = make("camvid", tmp_path)
    file = dataset.pairs(root, "train")[1].image
    repack(file, bytes(600))
    sentence = f"{file}: cannot be read (pyspng: could not decode image: IDAT stream too short)"
    assert sentence in refusal(dataset, root)
    prepare(dataset, root, tmp_path / "files", decode=False)
    samples = NumberedSamples(Store(tmp_path / "files", "train"), RECIPE, 0)
    for workers in (0, 1):
        with pytest.raises(InputError) as caught:
            list(load_batches(samples, batch_size=3, start=0, stop=1, workers=workers))
        assert str(caught.value) == f"{sentence}; fetch it again"


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ("cityscapes", "must have cityscapes's label values, 0 to 33, got 34"),
        ("camvid", "must have camvid's label values, 0 to 11, got 12"),
        ("ade20k", "must have ade20k's label values, 0 to 150, got 151"),
        ("pascal_context", "must have pascal_context's label values, 0 to 459, got 460"),
        ("pascal_context png", "must have label values of 0 to 59, got 60"),
    ],
)
def test_the_allowed_values_are_told(form: str, sentence: str, tmp_path: Path) -> None:
    dataset, root = make(form, tmp_path)
    raise_value(dataset.pairs(root, "val")[0])
    assert sentence in refusal(dataset, root)


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        ({"labels": np.ones((72, 80))}, "must have the variable LabelMap"),
        ({"LabelMap": "text"}, "must have a map of label numbers as LabelMap"),
        ({"LabelMap": np.full((72, 80), 1.5)}, "must have a map of label numbers"),
        ({"LabelMap": np.full((72, 80), -1)}, "must have a map of label numbers"),
        ({"LabelMap": np.ones((72, 80, 3))}, "must have a map of label numbers"),
    ],
)
def test_a_mat_file_without_a_label_map_is_refused(
    held: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    dataset, root = make("pascal_context", tmp_path)
    file = dataset.pairs(root, "train")[0].label
    savemat(file, held)
    assert f"{file} {sentence}" in refusal(dataset, root)


def test_label_numbers_may_be_doubles(tmp_path: Path) -> None:
    dataset, root = make("pascal_context", tmp_path)
    pair = dataset.pairs(root, "train")[0]
    values = dataset.read_labels(pair.label)
    savemat(pair.label, {"LabelMap": values.astype(float)})
    assert np.array_equal(dataset.read_labels(pair.label), values)


def test_many_bad_files_are_told_at_once(tmp_path: Path) -> None:
    dataset, root = make("camvid", tmp_path)
    for split, first in (("train", 3), ("val", 12)):
        for i in range(first, 15):
            image(root / split / f"0001TP_{i:06d}.png")
            label(root / f"{split}annot" / f"0001TP_{i:06d}.png", 200)
    told = refusal(dataset, root)
    assert told.startswith("15 bad files (the first 10):")
    assert told.count("label values") == 10
    for file in list(root.glob("trainannot/*"))[:12]:
        file.unlink()
    told = refusal(dataset, root)
    assert told.startswith("12 images or labels in train have no partner (the first 10):")
    assert told.count("has no label") == 10


@pytest.mark.parametrize("form", FORMS)
def test_swapped_splits_are_refused(form: str, tmp_path: Path) -> None:
    dataset, root = make(form, tmp_path)
    found = {split: len(dataset.pairs(root, split)) for split in ("train", "val")}
    swapped = replace(dataset, published_counts={"train": found["val"], "val": found["train"] + 1})
    manifest = prepare(swapped, root, tmp_path / "taken")  # other counts are told, not refused
    assert manifest.splits.train.published == found["val"]
    if found["train"] == found["val"]:
        image(root / "train/0001TP_000009.png")
        label(root / "trainannot/0001TP_000009.png", 12)
        found["train"] += 1
    swapped = replace(dataset, published_counts={"train": found["val"], "val": found["train"]})
    assert "so they are swapped" in refusal(swapped, root)


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_split_is_refused(form: str, tmp_path: Path) -> None:
    dataset, root = make(form, tmp_path)
    if dataset.name == "pascal_context":
        (root / "ImageSets/Main/val.txt").write_text("", encoding="utf-8")
    else:
        for pair in dataset.pairs(root, "val"):
            pair.image.unlink()
            pair.label.unlink()
    assert "the val split must have at least one image" in refusal(dataset, root)


@pytest.mark.parametrize("form", FORMS)
def test_a_root_a_level_off_is_told_the_right_one(form: str, tmp_path: Path) -> None:
    dataset, root = make(form, tmp_path)
    (tmp_path / "another").mkdir()
    for wrong in (tmp_path, root / dataset.folders[0]):
        with pytest.raises(InputError) as caught:
            prepare(dataset, wrong, tmp_path / "out")
        assert f"dataset_dir is {str(wrong)!r}; give {str(root)!r}" in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_missing_is_named_with_where_to_get_it(form: str, tmp_path: Path) -> None:
    dataset, root = make(form, tmp_path)
    folder = dataset.pairs(root, "val")[0].label.parent
    shutil.rmtree(folder)
    if dataset.name == "cityscapes":
        folder = folder.parent
        shutil.rmtree(folder)
    told = refusal(dataset, root)
    shown = folder if not form.endswith(" png") else root / "trainval"
    assert told == f"{shown} is missing; {dataset.download}"


def test_files_without_permission_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's refusal is made up, for the superuser may read everything."""
    dataset, root = make("cityscapes", tmp_path)
    locked = {dataset.pairs(root, "train")[0].image, dataset.pairs(root, "val")[0].label}
    opened, listed = Image.open, Path.iterdir

    def refuse(file: Path, **how: object) -> Image.Image:
        if file in locked:
            raise PermissionError(13, "Permission denied", str(file))
        return opened(file, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Image, "open", refuse)
    told = refusal(dataset, root)
    assert all(f"{file}: no permission to read it" in told for file in locked)

    def refuse_folder(folder: Path) -> object:
        if folder.name == "bochum":
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", refuse_folder)
    assert refusal(dataset, root).endswith("leftImg8bit/train/bochum: no permission to read it")
