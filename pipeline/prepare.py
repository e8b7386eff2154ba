"""Stage prepare: check every file of the dataset, and decode it once if the profile says so.

    python -m pipeline.prepare

Writes data/prepared/<profile>: the splits (pipeline.inputs.store) and manifest.json with counts, a
digest of the content and the class histogram. An interrupted run goes on where it was.
"""

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from pipeline.common import cli, params
from pipeline.common.cli import InputError
from pipeline.common.files import digest, write_json
from pipeline.common.progress import Reporter
from pipeline.datasets import BACKGROUND, DATASETS, IGNORE, SPLITS, Dataset, Pair, Sample
from pipeline.datasets.files import check_root, several
from pipeline.datasets.reading import read, sample_digest
from pipeline.inputs.store import Reference, Writer, write_references
from pipeline.preparing import space
from pipeline.preparing.journal import CONTENT, Entry, Journal, partial_folder, signature

MANIFEST = "manifest.json"
_FULL = (errno.ENOSPC, errno.EDQUOT)
Checked = tuple[Entry, Sample | None] | InputError


def folder(profile: str) -> Path:
    """Where the prepared data of a profile lie."""
    return Path("data/prepared") / profile


def prepare(dataset: Dataset, root: Path, out: Path, decode: bool = True) -> dict[str, Any]:
    """Check all splits and put them into `out`, whole or not at all; returns the manifest."""
    check_root(root, dataset.folders)
    pairs = {split: dataset.pairs(root, split) for split in SPLITS}
    _refuse_swapped(dataset, root, pairs)
    with partial_folder(out, signature(dataset, root, pairs, decode)) as partial:
        journals = {split: Journal(partial, split, decode) for split in SPLITS}
        problems: list[str] = []
        try:
            if decode:
                left = [p for s in SPLITS for p in pairs[s][len(journals[s].entries) :]]
                space.require(left, partial)
            for split, journal in journals.items():
                problems += _fill(dataset, pairs[split], split, journal, partial / CONTENT, decode)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise InputError(f"{partial}: the disk is full; make room and run it again") from None
        finally:
            for journal in journals.values():
                journal.close()
        if problems:
            raise several(problems, "bad files")
        if not decode:
            for split, journal in journals.items():
                samples = _references(pairs[split], journal.entries, root)
                write_references(partial / CONTENT, split, dataset.name, str(root), samples)
        manifest = _manifest(dataset, {s: journal.entries for s, journal in journals.items()})
        write_json(partial / CONTENT / MANIFEST, manifest)
    return manifest


def _refuse_swapped(dataset: Dataset, root: Path, pairs: Mapping[str, Sequence[Pair]]) -> None:
    train, val = (dataset.published[split] for split in SPLITS)
    if train != val and (len(pairs["train"]), len(pairs["val"])) == (val, train):
        raise InputError(
            f"{root}: train has {val} images and val {train}; {dataset.name} is published with "
            f"{train} and {val}, so they are swapped"
        )


def _fill(
    dataset: Dataset, pairs: list[Pair], split: str, journal: Journal, out: Path, decode: bool
) -> list[str]:
    """Check what the journal does not have yet, and decode it into `out`; returns the problems."""
    done = len(journal.entries)
    if done:
        print(f"prepare {split}: goes on after {done} of {len(pairs)}", flush=True)
    problems: list[str] = []
    writer = Writer(out, split, [entry[:3] for entry in journal.entries]) if decode else None
    with Reporter(f"prepare {split}", len(pairs), done) as reporter:
        for number, found in enumerate(_checked(dataset, pairs[done:], decode), done + 1):
            if isinstance(found, InputError):
                problems.append(str(found))
            elif not problems:  # else it is refused anyway
                entry, sample = found
                if writer and sample:
                    writer.add(entry.name, sample)
                journal.add(entry)
            reporter.update(number)
    if writer:
        writer.close()
    return problems


class _Checks(torch.utils.data.Dataset[Checked]):
    """The pairs, each read when asked for; its pixels only if they are to be kept."""

    def __init__(self, dataset: Dataset, pairs: list[Pair], keep: bool) -> None:
        self.dataset, self.pairs, self.keep = dataset, pairs, keep

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int) -> Checked:
        pair = self.pairs[i]
        try:
            sample = read(pair, self.dataset)
        except InputError as error:
            return error
        counts = np.bincount(sample.label.ravel(), minlength=256)
        counted = [[i, int(counts[i])] for i in np.flatnonzero(counts).tolist()]
        height, width = sample.label.shape
        entry = Entry(pair.name, height, width, sample_digest(pair.name, sample), counted)
        return entry, sample if self.keep else None


def _checked(dataset: Dataset, pairs: list[Pair], keep: bool) -> Iterator[Checked]:
    """The pairs in their order, read side by side."""
    return iter(
        DataLoader(
            _Checks(dataset, pairs, keep),
            batch_size=None,
            collate_fn=_as_it_is,  # pixels go through pipes: shared memory may be small
            num_workers=os.cpu_count() or 1,  # processes, for the decoder holds Python's lock
            prefetch_factor=4,
        )
    )


def _as_it_is(checked: Any) -> Any:
    return checked


def _references(pairs: list[Pair], entries: list[Entry], root: Path) -> list[Reference]:
    return [
        Reference(
            entry.name,
            entry.height,
            entry.width,
            pair.image.relative_to(root).as_posix(),
            pair.label.relative_to(root).as_posix(),
        )
        for pair, entry in zip(pairs, entries, strict=True)
    ]


def _manifest(dataset: Dataset, entries: Mapping[str, list[Entry]]) -> dict[str, Any]:
    splits = {}
    for split, samples in entries.items():
        histogram = np.zeros(256, np.int64)
        for sample in samples:
            for class_id, count in sample.counts:
                histogram[class_id] += count
        pixels = histogram[: len(dataset.classes)]
        if not pixels.sum():
            raise InputError(f"the {split} split has no labelled pixel")
        splits[split] = {
            "count": len(samples),
            "published": dataset.published[split],
            "digest": digest([sample.digest for sample in samples]),
            "pixels": dict(zip(dataset.classes, pixels.tolist(), strict=True)),
            "background_pixels": int(histogram[BACKGROUND]),
            "ignored_pixels": int(histogram[IGNORE]),
        }
    return {
        "dataset": dataset.name,
        "classes": dataset.classes,
        "background": dataset.background,
        "digest": digest({split: told["digest"] for split, told in splits.items()}),
        "splits": splits,
    }


def main() -> None:
    settings = params.load()
    dataset, root = DATASETS[settings.active.dataset], Path(settings.dataset_dir)
    if not root.is_dir():
        raise InputError(f"dataset_dir is {settings.dataset_dir!r}; there is no such folder")
    decode = settings.active.prepare.decode
    manifest = prepare(dataset, root, folder(settings.profile), decode)
    for split, told in manifest["splits"].items():
        of = "" if settings.embedded else f" of the published {told['published']}"
        print(f"{dataset.name} {split}: {told['count']}{of} images, digest {told['digest'][:12]}")


if __name__ == "__main__":
    cli.run(main)
