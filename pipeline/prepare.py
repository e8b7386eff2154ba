"""Stage prepare: check every file of the dataset and decode it once.

    python -m pipeline.prepare

Writes data/prepared/<profile>: the decoded splits (pipeline.inputs.store) and manifest.json with
counts, a digest of the content and the class histogram.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.common import cli, params
from pipeline.common.cli import InputError
from pipeline.common.files import digest, whole_folder, write_json
from pipeline.common.progress import Reporter
from pipeline.datasets import BACKGROUND, DATASETS, IGNORE, SPLITS, UNKNOWN, Dataset, Pair, Sample
from pipeline.datasets.files import read_image
from pipeline.inputs.store import Writer

MANIFEST = "manifest.json"
LISTED = 10  # problems told at once


def folder(profile: str) -> Path:
    """Where the prepared data of a profile lie."""
    return Path("data/prepared") / profile


def read(pair: Pair, dataset: Dataset) -> Sample:
    """Decode and check one sample; an InputError names the file."""
    image, values = read_image(pair.image), dataset.read_labels(pair.label)
    if image.shape[:2] != values.shape:
        (high, wide), (height, width) = values.shape, image.shape[:2]
        raise InputError(
            f"{pair.label}: {wide}x{high}, but its image is {width}x{height}; allowed is the "
            f"same size"
        )
    label = dataset.lookup[values]
    if (label == UNKNOWN).any():
        known = np.flatnonzero(dataset.lookup != UNKNOWN)
        raise InputError(
            f"{pair.label}: label value {values[label == UNKNOWN].max()}; allowed are "
            f"{dataset.name}'s {known.min()} to {known.max()}"
        )
    return Sample(image, label)


def prepare(dataset: Dataset, root: Path, out: Path) -> dict[str, Any]:
    """Check and pack all splits into `out`; returns the manifest."""
    pairs = {split: dataset.pairs(root, split) for split in SPLITS}
    splits = {split: _pack(dataset, split, pairs[split], out) for split in SPLITS}
    return {
        "dataset": dataset.name,
        "classes": dataset.classes,
        "background": dataset.background,
        "digest": digest({split: s["digest"] for split, s in splits.items()}),
        "splits": splits,
    }


def _pack(dataset: Dataset, split: str, pairs: list[Pair], out: Path) -> dict[str, Any]:
    def attempt(pair: Pair) -> Sample | InputError:
        try:
            return read(pair, dataset)
        except InputError as error:
            return error

    problems: list[InputError] = []
    content = hashlib.sha256()
    histogram = np.zeros(256, np.int64)
    writer = Writer(out, split)
    cores = os.cpu_count() or 1
    window = 4 * cores  # how many decoded images may wait at once
    with ThreadPoolExecutor(cores) as pool, Reporter(f"prepare {split}", len(pairs)) as reporter:
        for start in range(0, len(pairs), window):
            part = pairs[start : start + window]
            for pair, sample in zip(part, pool.map(attempt, part), strict=True):
                if isinstance(sample, InputError):
                    problems.append(sample)
                    continue
                content.update(f"{pair.name} {sample.label.shape}".encode())
                content.update(sample.image.tobytes())
                content.update(sample.label.tobytes())
                histogram += np.bincount(sample.label.ravel(), minlength=256)
                writer.add(pair.name, sample)
            reporter.update(start + len(part))
    writer.close()
    if problems:
        lines = "\n  ".join(str(p) for p in problems[:LISTED])
        total = f" (the first {LISTED})" if len(problems) > LISTED else ""
        raise InputError(f"{len(problems)} bad files in {split}{total}:\n  {lines}")
    pixels = histogram[: len(dataset.classes)]
    if not pixels.sum():
        raise InputError(f"the {split} split has no labelled pixel")
    return {
        "count": len(pairs),
        "digest": content.hexdigest(),
        "pixels": dict(zip(dataset.classes, pixels.tolist(), strict=True)),
        "background_pixels": int(histogram[BACKGROUND]),
        "ignored_pixels": int(histogram[IGNORE]),
    }


def main() -> None:
    settings = params.load()
    dataset, root = DATASETS[settings.active.dataset], Path(settings.dataset_dir)
    if not root.is_dir():
        raise InputError(f"dataset_dir is {settings.dataset_dir!r}; there is no such folder")
    with whole_folder(folder(settings.profile)) as out:
        manifest = prepare(dataset, root, out)
        write_json(out / MANIFEST, manifest)
    for split, told in manifest["splits"].items():
        print(f"{dataset.name} {split}: {told['count']} images, digest {told['digest'][:12]}")


if __name__ == "__main__":
    cli.run(main)
