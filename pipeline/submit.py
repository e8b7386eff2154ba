"""Write a network's predictions as a benchmark's server wants them; no stage.

    python -m pipeline.submit VARIANT SEED val|test OUT.zip [PROTOCOL]
    python -m pipeline.submit CHECKPOINT - val|test OUT.zip [PROTOCOL]

CHECKPOINT is one of `checkpoints` in params.yaml. PROTOCOL is one of those under `evaluate`, the
first if not given. val is what the prepare stage made, test the images in dataset_dir. OUT.zip
holds a PNG for each image, of its size and with the values of the dataset's own label files: the
label ids of Cityscapes, 1 to 150 of ADE20K. One batch at a time is in memory.
"""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile, ZipInfo

import numpy as np
from PIL import Image
from torch import Tensor

from pipeline.common import cli, params
from pipeline.common.cli import InputError
from pipeline.common.files import whole_file
from pipeline.common.paths import RunPaths
from pipeline.common.progress import Reporter
from pipeline.datasets import DATASETS, Dataset
from pipeline.datasets.base import Pixels
from pipeline.datasets.files import ImageFile, header
from pipeline.inputs.store import Store
from pipeline.prepare import folder
from pipeline.scoring.predict import as_batch, batches_of_one_size, load, predict

# What follows an image's name: Cityscapes' server looks for <city>_<sequence>_<frame>*.png.
SUFFIXES = {"cityscapes": "_leftImg8bit.png", "ade20k": ".png"}


class Source(NamedTuple):
    """All images' (height, width), and their names and pixels (B, 3, H, W), batch by batch."""

    sizes: list[tuple[int, int]]
    batches: Iterator[tuple[list[str], Tensor]]


def prepared(data: Path, batch_size: int) -> Source:
    """The validation split, in the batches that the evaluate stage makes."""
    if not data.is_dir():
        raise InputError(f"{data} is missing; `dvc repro prepare` makes it")
    store = Store(data, "val")
    groups = batches_of_one_size(store, batch_size)
    batches = (
        ([store.names[i] for i in group], as_batch([store[i].image for i in group]))
        for group in groups
    )
    return Source(store.sizes, batches)


def unlabelled(dataset: Dataset, root: Path) -> Source:
    """The test split, each image decoded when its turn comes."""
    if dataset.test_images is None:
        raise InputError(f"the split is 'test'; allowed for {dataset.name} is val")
    files = dataset.test_images(root)
    if not files:
        raise InputError(f"{root}: the test split is empty; {dataset.download}")
    sizes = [header(file).size[::-1] for _, file in files]
    return Source(sizes, (([name], as_batch([ImageFile(file)])) for name, file in files))


def add(archive: ZipFile, name: str, values: Pixels) -> None:
    """Add an 8-bit PNG; the same bytes whenever it is written."""
    png = io.BytesIO()
    Image.fromarray(values).save(png, "PNG")
    entry = ZipInfo(name)  # its date is fixed
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, png.getvalue())


def network_of(settings: params.Params, name: str, seed: str) -> RunPaths:
    """The run, or the imported checkpoint, that the command's first two words name."""
    if seed != "-":
        variant, number = params.variant_and_seed(settings, name, seed)
        return RunPaths(settings.profile, variant, number)
    params.listed_checkpoint(settings, name)
    return RunPaths(settings.profile, name, None)


def label_values(dataset: Dataset) -> Pixels:
    """(classes,) the value of each class in the dataset's label files."""
    values = [np.flatnonzero(dataset.lookup == i)[0] for i in range(len(dataset.classes))]
    return np.array(values, np.uint8)


def check(settings: params.Params, split: str, target: Path, protocol: str) -> None:
    """Refuse what has no server or cannot be predicted."""
    for what, value, allowed in (
        ("dataset", DATASETS[settings.active.dataset].name, list(SUFFIXES)),
        ("split", split, ["val", "test"]),
        ("protocol", protocol, settings.active.evaluate.protocols),
        ("file's ending", target.suffix, [".zip"]),
    ):
        if value not in allowed:
            raise InputError(f"the {what} is {value!r}; allowed to submit: {', '.join(allowed)}")


def main() -> None:
    settings, words = params.load(), sys.argv[1:]
    if len(words) not in (4, 5):
        raise InputError(
            "usage: python -m pipeline.submit VARIANT SEED val|test OUT.zip [PROTOCOL], or with a "
            "checkpoint's name and - for the first two"
        )
    paths, split, target = network_of(settings, *words[:2]), words[2], Path(words[3])
    evaluate, dataset = settings.active.evaluate, DATASETS[settings.active.dataset]
    protocol = words[4] if len(words) == 5 else evaluate.protocols[0]
    check(settings, split, target, protocol)
    if split == "val":
        source = prepared(folder(settings.profile), evaluate.batch_size)
    else:
        source = unlabelled(dataset, Path(settings.dataset_dir))
    alone = evaluate.model_copy(update={"protocols": [protocol]})
    network = load(paths.weights, dataset.name, list(dataset.classes), source.sizes, alone)
    values, suffix = label_values(dataset), SUFFIXES[dataset.name]
    done, total = 0, len(source.sizes)
    with (
        whole_file(target) as partial,
        ZipFile(partial, "w") as archive,
        Reporter(f"submit {paths.name}", total) as reporter,
    ):
        for names, images in source.batches:
            ids = predict(network, images, protocol, alone)
            for name, label in zip(names, values[ids], strict=True):
                add(archive, f"{name}{suffix}", label)
            done += len(names)
            reporter.update(done)
    print(
        f"{target}: {total} predictions of {paths.name} ({protocol}) for {dataset.name}'s {split}"
    )


if __name__ == "__main__":
    cli.run(main)
