"""Augmentation and the order of the samples are pure functions of (seed, iteration, slot)."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import resize

from pipeline.data.formats import IGNORE
from pipeline.data.formats.base import BACKGROUND, LazySample, Sample
from pipeline.data.formats.files import ImageFile
from pipeline.data.prepared.store import Store, Writer
from pipeline.data.samples.augment import augment
from pipeline.data.samples.colour import distort
from pipeline.data.samples.loader import Batch, NumberedSamples, load_batches, sample_index
from pipeline.engine.errors import InputError
from pipeline.settings.schema import Augment, Distortion
from tests.trees import image as image_file
from tests.trees import png

STILL = Augment(
    min_side=None,
    scale=(1.0, 1.0),
    aspect=(1.0, 1.0),
    crop=(16, 30),
    max_class_share=None,
    hflip=0.0,
    brightness=0,
    distortion=None,
)
DISTORTION = Distortion(brightness=32.0, contrast=(0.5, 1.5), saturation=(0.5, 1.5), hue=36.0)
MOVED: dict[str, Any] = {"scale": (0.5, 2.0), "aspect": (0.9, 1.1)}
RECIPE = STILL.model_copy(
    update={**MOVED, "crop": (20, 24), "hflip": 0.5, "brightness": 10, "distortion": DISTORTION}
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    rng, writer = np.random.default_rng(0), Writer(tmp_path, "train")
    for i in range(7):
        size = (16 + i, 30)
        image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        writer.add(f"sample {i}", Sample(image, rng.integers(0, 5, size).astype(np.uint8)))
    writer.close()
    return Store(tmp_path, "train")


def take(store: Store, start: int, stop: int, **how: int) -> list[Batch]:
    return list(
        load_batches(NumberedSamples(store, RECIPE, 3), batch_size=4, start=start, stop=stop, **how)
    )


def same(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(s, t) for x, y in zip(a, b, strict=True) for s, t in zip(x, y, strict=True)
    )


def test_order_is_permutations_one_after_the_other() -> None:
    numbers = [sample_index(5, k, 7) for k in range(21)]
    assert [sorted(numbers[i : i + 7]) for i in (0, 7, 14)] == [list(range(7))] * 3
    assert numbers[:7] != numbers[7:14]
    assert numbers != [sample_index(6, k, 7) for k in range(21)]


def test_a_restart_workers_and_processes_change_nothing(store: Store) -> None:
    whole = take(store, 0, 6)
    assert same(whole[3:], take(store, 3, 6))
    assert same(whole, take(store, 0, 6, workers=2))
    halves = [take(store, 0, 6, rank=r, world_size=2) for r in range(2)]
    joined = [
        Batch(*(torch.cat(parts) for parts in zip(*pair, strict=True)))
        for pair in zip(*halves, strict=True)
    ]
    assert same(whole, joined)
    assert not same(whole[:3], whole[3:])
    assert len({int(k) for b in whole for k in b.sample_ids}) == 24


def test_images_come_channels_last(store: Store) -> None:
    batch = take(store, 0, 1)[0]
    assert batch.images.shape == (4, 3, 20, 24)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_background_is_not_trained(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "train")
    label = np.full((16, 30), BACKGROUND, np.uint8)
    label[:3] = 2
    writer.add("sample", Sample(np.zeros((16, 30, 3), np.uint8), label))
    writer.close()
    samples = NumberedSamples(Store(tmp_path, "train"), STILL, 0)
    (batch,) = load_batches(samples, batch_size=2, start=0, stop=1)
    assert batch.labels.unique().tolist() == [2, IGNORE]


def test_a_crop_of_the_whole_image_is_the_image(store: Store) -> None:
    result = augment(store[0], STILL, np.random.default_rng(0))
    assert np.array_equal(result.image, store[0].image)
    assert np.array_equal(result.label, store[0].label)


def picture(size: tuple[int, int]) -> Sample:
    """A smooth image and a label of noise."""
    rng = np.random.default_rng(1)
    smooth = Image.fromarray(rng.integers(0, 256, (4, 6, 3)).astype(np.uint8))
    image = np.asarray(smooth.resize(size[::-1], Image.Resampling.BICUBIC))
    return Sample(image, rng.integers(0, 19, size).astype(np.uint8))


def interlaced(pixels: np.ndarray) -> bytes:
    """An interlaced PNG (Adam7), which Pillow reads and does not write."""
    grid = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
    passes = [pixels[y::down, x::across] for y, x, down, across in (*grid, (1, 0, 2, 1))]
    rows = b"".join(b"\0" + row.tobytes() for part in passes for row in part)
    start = struct.pack(">IIBBBBB", *pixels.shape[1::-1], 8, 2, 0, 0, 1)
    return png((b"IHDR", start), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))


def test_window_first_equals_resize_then_crop() -> None:
    sample, crop = picture((192, 320)), (70, 80)  # sizes of whole steps, so that all is exact
    recipe = STILL.model_copy(update={**MOVED, "crop": crop})
    whole_steps = set()
    for seed in range(40):
        result = augment(sample, recipe, np.random.default_rng(seed))
        draw = np.random.default_rng(seed)
        scale, aspect = draw.uniform(0.5, 2.0), draw.uniform(0.9, 1.1) ** 0.5
        steps = round(64 * scale / aspect), round(64 * scale * aspect)
        size = [192 * steps[0] // 64, 320 * steps[1] // 64]
        top, left = (
            int(where * (full - wanted + 1))
            for where, full, wanted in zip(draw.random(2), size, crop, strict=True)
        )
        image = torch.tensor(sample.image).permute(2, 0, 1)
        resized = resize(image, size, InterpolationMode.BILINEAR, antialias=True)
        expected = resized[:, top : top + 70, left : left + 80].permute(1, 2, 0).numpy()
        assert np.abs(result.image.astype(int) - expected).max() <= 1
        nearest = (
            ((np.arange(full) + 0.5) * source / full).astype(int)
            for full, source in zip(size, (192, 320), strict=True)
        )
        whole = sample.label[np.ix_(*nearest)]
        assert np.array_equal(result.label, whole[top : top + 70, left : left + 80])
        whole_steps.add(steps)
    assert len(whole_steps) > 30


@pytest.mark.parametrize("form", ["png", "interlaced png", "grey png", "jpg"])
def test_a_file_gives_the_crops_of_its_pixels(form: str, tmp_path: Path) -> None:
    file, sample = tmp_path / f"image.{form.split()[-1]}", picture((192, 320))
    image = Image.fromarray(sample.image).convert("L" if "grey" in form else "RGB")
    if form == "interlaced png":
        file.write_bytes(interlaced(sample.image))
    else:
        image.save(file)
    pixels = np.asarray(Image.open(file).convert("RGB"))
    share = {"max_class_share": 0.05, "min_side": 150}
    for recipe in (RECIPE, RECIPE.model_copy(update={"crop": (150, 60), **share}), STILL):
        for seed in range(20):
            decoded, read = (
                augment(each, recipe, np.random.default_rng(seed))
                for each in (
                    Sample(pixels, sample.label),
                    LazySample(ImageFile(file), sample.label),
                )
            )
            assert all(map(np.array_equal, decoded, read))


def test_a_png_is_decoded_down_to_the_last_row_asked_for(tmp_path: Path) -> None:
    file = image_file(tmp_path / "image.png", (256, 256))
    whole = np.asarray(ImageFile(file))
    assert np.array_equal(ImageFile(file)[3:300, 5:9], whole[3:, 5:9])
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 3 // 4])
    lost = ImageFile(file)
    assert np.array_equal(lost[3:100, 5:9], whole[3:100, 5:9])
    for last in (250, 256, 300, None):
        with pytest.raises(InputError, match="end of stream"):
            lost[3:last, 5:9]


def test_the_shorter_side_is_resized_first() -> None:
    sample = picture((60, 90))
    recipe = STILL.model_copy(update={"min_side": 30, "crop": (40, 50)})
    result = augment(sample, recipe, np.random.default_rng(0))
    assert (result.label != IGNORE).sum() == 30 * 45


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (75, 101)])
def test_any_size_gives_the_crop(size: tuple[int, int]) -> None:
    sample = Sample(np.full((*size, 3), 7, np.uint8), np.ones(size, np.uint8))
    recipe = STILL.model_copy(update={**MOVED, "scale": (0.01, 3.0), "crop": (40, 50)})
    for seed in range(30):
        image, label = augment(sample, recipe, np.random.default_rng(seed))
        assert (image.shape, label.shape) == ((40, 50, 3), (40, 50))
        assert np.array_equal((image == 7).all(axis=2), label != IGNORE)


def test_what_lies_beyond_the_image_is_ignored() -> None:
    sample = Sample(np.full((10, 12, 3), 7, np.uint8), np.ones((10, 12), np.uint8))
    small = STILL.model_copy(update={"crop": (16, 20)})
    places = set()
    for seed in range(20):
        image, label = augment(sample, small, np.random.default_rng(seed))
        assert image.shape == (16, 20, 3)
        assert (label != IGNORE).sum() == 120
        assert np.array_equal((image == 7).all(axis=2), label != IGNORE)
        places.add(tuple(np.argwhere(label != IGNORE)[0]))
    assert len(places) > 5


def test_flip_and_brightness_move_image_and_label_alike() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(20, 200, (8, 9, 3)).astype(np.uint8)
    sample = Sample(image, image[..., 0])
    recipe = STILL.model_copy(update={"crop": (8, 9), "hflip": 1.0, "brightness": 10})
    shifts = set()
    for seed in range(30):
        result = augment(sample, recipe, np.random.default_rng(seed))
        assert np.array_equal(result.label, sample.label[:, ::-1])
        shift = result.image.astype(int) - image[:, ::-1]
        assert shift.min() == shift.max()
        shifts.add(int(shift[0, 0, 0]))
    assert min(shifts) >= -10
    assert max(shifts) <= 10
    assert len(shifts) > 5


def test_a_crop_of_one_class_alone_is_drawn_again() -> None:
    label = np.zeros((64, 256), np.uint8)
    label[:, 200:] = np.arange(56) % 5
    sample = Sample(np.zeros((64, 256, 3), np.uint8), label)
    plain = STILL.model_copy(update={"crop": (64, 64)})
    picky = plain.model_copy(update={"max_class_share": 0.75})

    def shares(recipe: Augment) -> list[float]:
        labels = [augment(sample, recipe, np.random.default_rng(s)).label for s in range(60)]
        return [np.bincount(label.ravel()).max() / label.size for label in labels]

    assert np.mean(np.array(shares(plain)) > 0.75) > 0.5
    assert np.mean(np.array(shares(picky)) > 0.75) < 0.15


def test_distortion_changes_each_property_alone() -> None:
    image = picture((30, 40)).image
    nothing: dict[str, Any] = {"brightness": 0, "contrast": (1, 1), "saturation": (1, 1), "hue": 0}

    def mean_hsv(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(pixels).convert("HSV")).astype(float).mean((0, 1))

    for name, value in (("brightness", 32.0), ("contrast", (0.5, 1.5)), ("saturation", (0.5, 0.9))):
        settings = Distortion(**{**nothing, name: value})
        results = [distort(image, settings, np.random.default_rng(s)) for s in range(40)]
        changed = [r for r in results if np.abs(r.astype(int) - image).max() > 3]
        assert 8 < len(changed) < 32  # one half, by chance
        if name == "saturation":
            assert all(mean_hsv(r)[1] < mean_hsv(image)[1] for r in changed)
            assert all(abs(mean_hsv(r)[2] - mean_hsv(image)[2]) < 2 for r in changed)
    turned = Distortion(**{**nothing, "hue": 120.0})
    red = np.full((4, 4, 3), (200, 0, 0), np.uint8)
    hues = {tuple(distort(red, turned, np.random.default_rng(s))[0, 0]) for s in range(30)}
    assert len(hues) > 8
    assert all(max(h) > 195 and min(h) < 5 for h in hues)
