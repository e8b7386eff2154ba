"""Stage prepare: check every file of the dataset, and decode it once if the profile says so.

    python -m pipeline.prepare

Writes data/prepared/<profile>: the splits (pipeline.inputs.store) and manifest.json with counts, a
digest of the content and the class histogram. All is checked before anything is decoded. An
interrupted run goes on where it was.
"""

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.common import cli, params
from pipeline.common.cli import InputError
from pipeline.common.files import digest, write_json
from pipeline.common.progress import Reporter
from pipeline.datasets import BACKGROUND, DATASETS, IGNORE, SPLITS, Dataset, Pair
from pipeline.datasets.files import several
from pipeline.datasets.root import check_root
from pipeline.inputs.store import Reference, Writer, write_references
from pipeline.preparing import space
from pipeline.preparing.journal import CONTENT, Entry, Journal, partial_folder, signature
from pipeline.preparing.samples import checked, decoded

MANIFEST = "manifest.json"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def folder(profile: str) -> Path:
    """Where the prepared data of a profile lie."""
    return Path("data/prepared") / profile


def prepare(
    dataset: Dataset, root: Path, out: Path, decode: bool = True, title: str | None = None
) -> dict[str, Any]:
    """Check all splits and put them into `out`, whole or not at all; returns the manifest.

    title: what the data are, in words, where that is not the dataset's name.
    """
    check_root(root, dataset.folders)
    pairs = {split: dataset.pairs(root, split) for split in SPLITS}
    _refuse_swapped(dataset, root, pairs)
    with partial_folder(out, signature(dataset, root, pairs, decode)) as partial:
        if decode:
            space.require([p for listed in pairs.values() for p in listed], partial / CONTENT)
        entries = _entries(dataset, pairs, partial, decode=False)
        if decode:
            entries = _entries(dataset, pairs, partial, decode=True)
        else:
            for split in SPLITS:
                samples = _references(pairs[split], entries[split], root)
                write_references(partial / CONTENT, split, dataset.name, str(root), samples)
        manifest = _manifest(dataset, title or dataset.name, entries)
        write_json(partial / CONTENT / MANIFEST, manifest)
    return manifest


def _refuse_swapped(dataset: Dataset, root: Path, pairs: Mapping[str, Sequence[Pair]]) -> None:
    train, val = (dataset.published[split] for split in SPLITS)
    if train != val and (len(pairs["train"]), len(pairs["val"])) == (val, train):
        raise InputError(
            f"{root}: train has {val} images and val {train}; {dataset.name} is published with "
            f"{train} and {val}, so they are swapped"
        )


def _entries(
    dataset: Dataset, pairs: Mapping[str, list[Pair]], partial: Path, decode: bool
) -> dict[str, list[Entry]]:
    """Check, or decode, what the journals in `partial` do not have yet; returns all there is."""
    journals = {split: Journal(partial, split, decode) for split in SPLITS}
    problems: list[str] = []
    try:
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
    return {split: journal.entries for split, journal in journals.items()}


def _fill(
    dataset: Dataset, pairs: list[Pair], split: str, journal: Journal, out: Path, decode: bool
) -> list[str]:
    """One split of _entries; decoded samples go to `out`. Returns the problems."""
    done, title = len(journal.entries), f"{'decode' if decode else 'check'} {split}"
    if done:
        print(f"{title}: goes on after {done} of {len(pairs)}", flush=True)
    problems: list[str] = []
    writer = Writer(out, split, [entry[:3] for entry in journal.entries]) if decode else None
    with Reporter(title, len(pairs), done) as reporter:
        found = decoded if decode else checked  # its result has no name, so an interrupt ends it
        for number, (entry, sample) in enumerate(found(dataset, pairs[done:]), done + 1):
            if isinstance(entry, InputError):
                problems.append(str(entry))
            elif not problems:  # else it is refused anyway
                if writer and sample:
                    writer.add(entry.name, sample)
                journal.add(entry)
            reporter.update(number)
    if writer:
        writer.close()
    return problems


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


def _manifest(dataset: Dataset, title: str, entries: Mapping[str, list[Entry]]) -> dict[str, Any]:
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
        "title": title,
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
    manifest = prepare(dataset, root, folder(settings.profile), decode, settings.data_title)
    for split, told in manifest["splits"].items():
        of = "" if settings.embedded else f" of the published {told['published']}"
        images = f"{told['count']}{of} images"
        print(f"{settings.data_title} {split}: {images}, digest {told['digest'][:12]}")


if __name__ == "__main__":
    cli.run(main)
