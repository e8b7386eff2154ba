"""`make bench`: training input and scoring against the libraries that others use for them.

Generated street-sized images (1024x2048, PNGs of about 2.3 MB), one process, one thread. The
contenders take turns, and the ratio of the means is printed, since augmentation varies by sample.
"""

import os
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import mean
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture
from torchvision.io import decode_image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from ann import confusion_matrix
from pipeline.commands.submit import list_label_values
from pipeline.data.formats import DATASETS, IGNORE
from pipeline.data.formats.base import Pixels
from pipeline.data.prepared.store import Store
from pipeline.data.samples.augment import augment
from pipeline.settings.schema import Augment
from pipeline.stages.prepare import prepare

SIZE, CROP, IMAGES, TURNS = (1024, 2048), 769, 4, 25
RECIPE = Augment(
    min_side=None,
    scale=(0.5, 2.0),
    aspect=(0.9, 1.1),
    crop=(CROP, CROP),
    max_class_share=None,
    hflip=0.5,
    brightness=10,
    distortion=None,
)
CITYSCAPES = DATASETS["cityscapes"]
IDS = list_label_values(CITYSCAPES)

pytestmark = pytest.mark.usefixtures("one_thread")


def regions(seed: int, classes: int) -> Pixels:
    """A label map of smooth regions: where one of several random fields is the highest."""
    rng = np.random.default_rng(seed)
    fields = [
        Image.fromarray(rng.normal(size=(12, 24)).astype(np.float32)).resize(SIZE[::-1])
        for _ in range(classes)
    ]
    return np.stack([np.asarray(field) for field in fields]).argmax(axis=0).astype(np.uint8)


def picture(seed: int) -> Pixels:
    """Smooth colours with a little noise, which compresses as a photograph does."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (32, 64, 3)).astype(np.uint8))
    smooth = np.asarray(small.resize(SIZE[::-1], Image.Resampling.BICUBIC))
    noise = rng.normal(0, 0.4, smooth.shape).round()
    return (smooth + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in Cityscapes' layout, prepared in both forms."""
    root = tmp_path_factory.mktemp("cityscapes")
    for split, count in (("train", IMAGES), ("val", 1)):
        for i in range(count):
            name = f"{split}/city/city_{i:06d}_000019"
            for folder, end in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
                file = root / folder / f"{name}_{end}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                pixels = picture(i) if folder == "leftImg8bit" else IDS[regions(i, 19)]
                Image.fromarray(pixels).save(file)
    for decode in (True, False):
        prepare(CITYSCAPES, root, root / f"prepared-{decode}", decode)
    return root


def compare(benchmark: BenchmarkFixture, ours: Callable[[int], Any], others: Any) -> None:
    """Print how many times faster `ours` is than each of the others; all take turns."""
    calls = {"ours": ours, **others}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    numbers = iter(range(10_000))

    def turn() -> None:
        number = next(numbers)
        for name, call in calls.items():
            begin = time.perf_counter()
            call(number)
            seconds[name].append(time.perf_counter() - begin)

    turn()
    for spent in seconds.values():
        spent.clear()
    benchmark.pedantic(turn, rounds=TURNS)
    means = {name: mean(spent) for name, spent in seconds.items()}
    print(f"\n{1 / means['ours']:.0f} a second", end="")
    for name in others:
        print(f"; {means[name] / means['ours']:.1f} times {name}", end="")
        benchmark.extra_info[name] = round(means[name] / means["ours"], 2)
    print()


def by_torchvision(root: Path, number: int) -> Any:
    """The same work by torchvision.transforms.v2 from the PNGs: decode, resize, pad, crop, flip."""
    name = f"train/city/city_{number % IMAGES:06d}_000019"
    image = decode_image(str(root / f"leftImg8bit/{name}_leftImg8bit.png"))
    label = decode_image(str(root / f"gtFine/{name}_gtFine_labelIds.png"))
    label = torch.from_numpy(CITYSCAPES.lookup)[label.int()]
    rng = np.random.default_rng(number)
    scale, aspect = rng.uniform(0.5, 2.0), rng.uniform(0.9, 1.1) ** 0.5
    size = [round(SIZE[0] * scale / aspect), round(SIZE[1] * scale * aspect)]
    image = tv.resize(image, size, antialias=True)
    label = tv.resize(label, size, v2.InterpolationMode.NEAREST)
    missing = [0, 0, max(0, CROP - size[1]), max(0, CROP - size[0])]
    image, label = tv.pad(image, missing, fill=[124]), tv.pad(label, missing, fill=[IGNORE])
    top, left = (int(rng.random() * (have - CROP + 1)) for have in image.shape[1:])
    image, label = (tv.crop(x, top, left, CROP, CROP) for x in (image, label))
    if rng.random() < 0.5:
        image, label = tv.horizontal_flip(image), tv.horizontal_flip(label)
    shift = int(rng.integers(-10, 11))
    return (image.to(torch.int16) + shift).clamp(0, 255).to(torch.uint8), label


@pytest.mark.parametrize("decode", [True, False], ids=["prepared", "files"])
def test_training_input(tree: Path, decode: bool, benchmark: BenchmarkFixture) -> None:
    store = Store(tree / f"prepared-{decode}", "train")

    def ours(number: int) -> Any:
        image, label = augment(store[number % IMAGES], RECIPE, np.random.default_rng(number))
        return np.ascontiguousarray(image), np.ascontiguousarray(label)

    compare(benchmark, ours, {"torchvision": lambda number: by_torchvision(tree, number)})


@pytest.mark.parametrize("kind", ["regions", "noise"])
def test_confusion_matrix(
    kind: str, benchmark: BenchmarkFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "regions":
        label, predicted = regions(0, 19), np.roll(regions(0, 19), 3, axis=1)
        predicted = np.where(regions(1, 19) == 3, regions(2, 19), predicted).astype(np.uint8)
    else:
        label, predicted = np.random.default_rng(0).integers(0, 19, (2, *SIZE)).astype(np.uint8)
    monkeypatch.setitem(os.environ, "CITYSCAPES_DATASET", str(tmp_path))
    official = import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    ids = IDS[label].astype(np.int32)
    things = [x.id for x in official.labels if x.hasInstances]
    instances = np.where(np.isin(ids, things), ids * 1000 + regions(3, 5), ids)
    opened = {"prediction": IDS[predicted], "labelIds": IDS[label], "instanceIds": instances}
    images = {name: Image.fromarray(pixels) for name, pixels in opened.items()}
    # Decoding is not what is compared: the official code opens images that are in memory.
    monkeypatch.setattr(official, "Image", SimpleNamespace(open=images.__getitem__))

    def theirs(with_instances: bool) -> Callable[[int], Any]:
        args = SimpleNamespace(**vars(official.args))
        args.evalInstLevelScore, args.evalPixelAccuracy = with_instances, False
        matrix, statistics = official.generateMatrix(args), official.generateInstanceStats(args)
        names = "prediction", "labelIds"
        return lambda _: official.evaluatePair(*names, matrix, statistics, {}, args)

    compare(
        benchmark,
        lambda _: confusion_matrix(label, predicted, 19),
        {"cityscapesscripts, pixels": theirs(False), "and instances": theirs(True)},
    )
