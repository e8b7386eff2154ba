"""Augmentation and the order of the samples are pure functions of (seed, iteration, slot)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.common.params import Augment
from pipeline.datasets import IGNORE
from pipeline.inputs.augment import augment
from pipeline.inputs.loader import Batch, Numbered, batches, sample_index
from pipeline.inputs.store import Sample, Store, Writer

RECIPE = Augment(scale=(0.5, 2.0), aspect=(0.9, 1.1), crop=(20, 24), hflip=0.5, brightness=10)


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
    return list(batches(Numbered(store, RECIPE, 3), batch_size=4, start=start, stop=stop, **how))


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
    assert len({int(k) for b in whole for k in b.keys}) == 24


def test_images_come_channels_last(store: Store) -> None:
    batch = take(store, 0, 1)[0]
    assert batch.images.shape == (4, 3, 20, 24)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_a_crop_of_the_whole_image_is_the_image(store: Store) -> None:
    still = Augment(scale=(1.0, 1.0), aspect=(1.0, 1.0), crop=(16, 30), hflip=0.0, brightness=0)
    result = augment(store[0], still, np.random.default_rng(0))
    assert np.array_equal(result.image, store[0].image)
    assert np.array_equal(result.label, store[0].label)


def test_window_first_equals_resize_then_crop() -> None:
    rng = np.random.default_rng(1)
    size = (90, 140)
    smooth = Image.fromarray(rng.integers(0, 256, (4, 6, 3)).astype(np.uint8))
    image = np.asarray(smooth.resize(size[::-1], Image.Resampling.BICUBIC))
    label = rng.integers(0, 19, size).astype(np.uint8)
    recipe = RECIPE.model_copy(update={"hflip": 0.0, "brightness": 0, "crop": (40, 40)})
    for seed in range(30):
        result = augment(Sample(image, label), recipe, np.random.default_rng(seed))
        draw = np.random.default_rng(seed)
        scale, aspect = draw.uniform(0.5, 2.0), draw.uniform(0.9, 1.1) ** 0.5
        height, width = round(90 * scale / aspect), round(140 * scale * aspect)
        top, left = (
            int(where * (full - 40 + 1))
            for where, full in zip(draw.random(2), (height, width), strict=True)
        )
        whole = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        expected = np.asarray(whole.crop((left, top, left + 40, top + 40))).astype(int)
        assert np.abs(result.image - expected).max() <= 1
        nearest = (
            ((np.arange(full) + 0.5) * source / full).astype(int)
            for full, source in ((height, 90), (width, 140))
        )
        resized = label[np.ix_(*nearest)]
        assert np.array_equal(result.label, resized[top : top + 40, left : left + 40])


def test_what_lies_beyond_the_image_is_ignored() -> None:
    sample = Sample(np.full((10, 12, 3), 7, np.uint8), np.ones((10, 12), np.uint8))
    small = Augment(scale=(1.0, 1.0), aspect=(1.0, 1.0), crop=(16, 20), hflip=0.0, brightness=0)
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
    recipe = Augment(scale=(1.0, 1.0), aspect=(1.0, 1.0), crop=(8, 9), hflip=1.0, brightness=10)
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
