"""Write a network's predictions in the format of a benchmark's server.

    python -m pipeline submit RUN SPLIT OUT.zip

RUN is a run, such as ann-0, or one of `checkpoints` in params.yaml. SPLIT is val, from the prepare
stage, or test, from the images in dataset_dir. OUT.zip has a PNG for each image, of the image's
size. Its values are those of the dataset's own label files: the label ids of Cityscapes, or 1 to
150 of ADE20K. Only one batch at a time is in memory.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile, ZipInfo

import numpy as np
from PIL import Image
from torch import Tensor

from pipeline.data.formats import DATASETS, Dataset
from pipeline.data.formats.base import Pixels
from pipeline.data.formats.files import ImageFile, read_header
from pipeline.data.prepared.store import Store
from pipeline.engine.errors import InputError
from pipeline.engine.files import whole_file
from pipeline.engine.progress import Reporter
from pipeline.scoring.groups import group_by_size
from pipeline.scoring.predict import load_network, predict, stack_images
from pipeline.settings import params, schema
from pipeline.settings.paths import RunPaths, locate_prepared
from pipeline.settings.runs import list_runs

# The end of a file's name. Cityscapes' server looks for <city>_<sequence>_<frame>*.png.
SUFFIXES = {"cityscapes": "_leftImg8bit.png", "ade20k": ".png"}


class Source(NamedTuple):
    """The images of a split.

    Attributes:
        sizes: The height and width of every image.
        batches: Yields the names and the pixels (batch, 3, height, width) of a batch.
    """

    sizes: list[tuple[int, int]]
    batches: Iterator[tuple[list[str], Tensor]]


def read_validation(data: Path, batch_size: int) -> Source:
    """Return the validation split, in the batches of the evaluate stage."""
    if not data.is_dir():
        raise InputError(f"{data} is missing; `dvc repro prepare` makes it")
    store = Store(data, "val")
    groups = group_by_size(store, batch_size)
    batches = (
        ([store.names[i] for i in group], stack_images([store[i].image for i in group]))
        for group in groups
    )
    return Source(store.sizes, batches)


def read_test(dataset: Dataset, root: Path) -> Source:
    """Return the test split; the iterator decodes one image at a time."""
    if dataset.test_images is None:
        raise InputError(f"SPLIT must be val for {dataset.name}, got 'test'")
    files = dataset.test_images(root)
    if not files:
        raise InputError(f"{root}: the test split is empty; {dataset.download}")
    sizes = [read_header(file).size[::-1] for _, file in files]
    return Source(sizes, (([name], stack_images([ImageFile(file)])) for name, file in files))


def add_png(archive: ZipFile, name: str, values: Pixels) -> None:
    """Add an 8-bit PNG, whose bytes do not depend on the time."""
    png = io.BytesIO()
    Image.fromarray(values).save(png, "PNG")
    entry = ZipInfo(name)  # without a time, it has a fixed date
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, png.getvalue())


def find_run(settings: schema.Params, name: str) -> RunPaths:
    """Return the run VARIANT-SEED, or the imported checkpoint, of this name."""
    if name in settings.checkpoints:
        return RunPaths(settings.profile, name, None)
    for paths in list_runs(settings):
        if paths.name == name:
            return paths
    example = next(list_runs(settings)).name
    raise InputError(
        f"RUN must be a variant and a seed of params.yaml, as {example}, or a name under "
        f"checkpoints there, got {name!r}"
    )


def list_label_values(dataset: Dataset) -> Pixels:
    """Return the value of each class in the dataset's label files, as an array (classes,)."""
    values = [np.flatnonzero(dataset.lookup == i)[0] for i in range(len(dataset.classes))]
    return np.array(values, np.uint8)


def check_submission(settings: schema.Params, split: str, target: Path, protocol: str) -> None:
    """Raise an InputError for a submission that no server takes."""
    for name, value, allowed in (
        ("dataset", DATASETS[settings.active.dataset].name, list(SUFFIXES)),
        ("split", split, ["val", "test"]),
        ("protocol", protocol, settings.active.evaluate.protocols),
        ("file's ending", target.suffix, [".zip"]),
    ):
        if value not in allowed:
            raise InputError(f"to submit, the {name} must be {' or '.join(allowed)}, got {value!r}")


def main(run: str, split: str, target: Path, protocol: str | None = None) -> None:
    settings = params.load()
    paths = find_run(settings, run)
    evaluate, dataset = settings.active.evaluate, DATASETS[settings.active.dataset]
    protocol = protocol or evaluate.protocols[0]
    check_submission(settings, split, target, protocol)
    if split == "val":
        source = read_validation(locate_prepared(settings.profile), evaluate.batch_size)
    else:
        source = read_test(dataset, Path(settings.dataset_dir))
    own = evaluate.model_copy(update={"protocols": [protocol]})
    network = load_network(paths.weights, dataset.name, list(dataset.classes), source.sizes, own)
    values, suffix = list_label_values(dataset), SUFFIXES[dataset.name]
    done, total = 0, len(source.sizes)
    with (
        whole_file(target) as partial,
        ZipFile(partial, "w") as archive,
        Reporter(f"submit {paths.name}", total) as reporter,
    ):
        for names, images in source.batches:
            ids = predict(network, images, protocol, own)
            for name, label in zip(names, values[ids], strict=True):
                add_png(archive, f"{name}{suffix}", label)
            done += len(names)
            reporter.update(done)
    print(
        f"{target}: {total} predictions of {paths.name} ({protocol}) for {dataset.name}'s {split}"
    )
