"""Stage prepare: check every file of the dataset, and decode it once if the profile says so.

    python -m pipeline prepare

It writes data/prepared/<profile>: the splits (pipeline.data.prepared.store) and manifest.json with
counts, a digest of the content and the class histogram. It checks everything before it decodes
anything, and resumes after an interruption.
"""

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.data.formats import BACKGROUND, DATASETS, IGNORE, SPLITS, Dataset, Pair
from pipeline.data.formats.files import join_problems
from pipeline.data.formats.root import check_root
from pipeline.data.prepared import space
from pipeline.data.prepared.journal import (
    CONTENT,
    Entry,
    Journal,
    compute_signature,
    open_journal,
    open_partial_folder,
)
from pipeline.data.prepared.samples import check_samples, decode_samples
from pipeline.data.prepared.store import Reference, Writer, write_references
from pipeline.engine.errors import InputError
from pipeline.engine.files import digest
from pipeline.engine.progress import Reporter
from pipeline.settings import params, records
from pipeline.settings.paths import MANIFEST, locate_prepared
from pipeline.settings.records import Manifest, Split, Splits

_FULL = (errno.ENOSPC, errno.EDQUOT)


def prepare(
    dataset: Dataset, root: Path, out: Path, decode: bool = True, title: str | None = None
) -> Manifest:
    """Check all splits, and write them to `out` completely or not at all.

    Args:
        dataset: The dataset's format.
        root: The dataset's folder.
        out: The folder to write to.
        decode: Whether to decode the images and labels.
        title: The name of the data, if it is not the dataset's.

    Returns:
        The manifest, which is also in `out`.

    Raises:
        InputError: Files are missing or wrong, or the disk is full.
    """
    check_root(root, dataset.folders)
    pairs = {split: dataset.pairs(root, split) for split in SPLITS}
    _refuse_swapped(dataset, root, pairs)
    with open_partial_folder(out, compute_signature(dataset, root, pairs, decode)) as partial:
        if decode:
            listed = [pair for own in pairs.values() for pair in own]
            other = "let the profile say prepare: {decode: false}"
            size, what = space.estimate_bytes(listed), "images to decode"
            space.require_space(partial / CONTENT, size, len(listed), what, other)
        entries = _read_entries(dataset, pairs, partial, decode=False)
        if decode:
            entries = _read_entries(dataset, pairs, partial, decode=True)
        else:
            for split in SPLITS:
                samples = _list_references(pairs[split], entries[split], root)
                write_references(partial / CONTENT, split, dataset.name, str(root), samples)
        manifest = _build_manifest(dataset, title or dataset.name, entries)
        records.write(partial / CONTENT / MANIFEST, manifest)
    return manifest


def _refuse_swapped(dataset: Dataset, root: Path, pairs: Mapping[str, Sequence[Pair]]) -> None:
    train, val = (dataset.published_counts[split] for split in SPLITS)
    if train != val and (len(pairs["train"]), len(pairs["val"])) == (val, train):
        raise InputError(
            f"{root}: train has {val} images and val {train}; {dataset.name} is published with "
            f"{train} and {val}, so they are swapped"
        )


def _read_entries(
    dataset: Dataset, pairs: Mapping[str, list[Pair]], partial: Path, decode: bool
) -> dict[str, list[Entry]]:
    """Check or decode what the journals in `partial` lack, and return all their entries."""
    journals = {split: open_journal(partial, split, decode) for split in SPLITS}
    problems: list[str] = []
    try:
        for split, journal in journals.items():
            problems += _fill_journal(
                dataset, pairs[split], split, journal, partial / CONTENT, decode
            )
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise InputError(f"{partial}: the disk is full; free space and run it again") from None
    finally:
        for journal in journals.values():
            journal.close()
    if problems:
        raise join_problems(problems, "bad files")
    return {split: journal.entries for split, journal in journals.items()}


def _fill_journal(
    dataset: Dataset, pairs: list[Pair], split: str, journal: Journal, out: Path, decode: bool
) -> list[str]:
    """Check or decode one split, and return the problems; decoded samples go to `out`."""
    done, title = len(journal.entries), f"{'decode' if decode else 'check'} {split}"
    if done:
        print(f"{title}: resumes after {done} of {len(pairs)}", flush=True)
    problems: list[str] = []
    writer = Writer(out, split, [entry[:3] for entry in journal.entries]) if decode else None
    with Reporter(title, len(pairs), done) as reporter:
        # The iterator has no name, so that an interrupt ends its processes.
        read = decode_samples if decode else check_samples
        for number, (entry, sample) in enumerate(read(dataset, pairs[done:]), done + 1):
            if isinstance(entry, InputError):
                problems.append(str(entry))
            elif not problems:  # after a problem, nothing is kept
                if writer and sample:
                    writer.add(entry.name, sample)
                journal.add(entry)
            reporter.update(number)
    if writer:
        writer.close()
    return problems


def _list_references(pairs: list[Pair], entries: list[Entry], root: Path) -> list[Reference]:
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


def _build_manifest(dataset: Dataset, title: str, entries: Mapping[str, list[Entry]]) -> Manifest:
    splits = Splits(
        train=_summarize_split(dataset, "train", entries),
        val=_summarize_split(dataset, "val", entries),
    )
    return Manifest(
        version=1,
        dataset=dataset.name,
        title=title,
        classes=list(dataset.classes),
        background=dataset.background,
        digest=digest({"train": splits.train.digest, "val": splits.val.digest}),
        splits=splits,
    )


def _summarize_split(dataset: Dataset, name: str, entries: Mapping[str, list[Entry]]) -> Split:
    samples = entries[name]
    histogram = np.zeros(256, np.int64)
    for sample in samples:
        for class_id, count in sample.counts:
            histogram[class_id] += count
    pixels = histogram[: len(dataset.classes)]
    if not pixels.sum():
        raise InputError(f"the {name} split must have at least one labelled pixel")
    return Split(
        count=len(samples),
        published=dataset.published_counts[name],
        digest=digest([sample.digest for sample in samples]),
        pixels=dict(zip(dataset.classes, pixels.tolist(), strict=True)),
        background_pixels=int(histogram[BACKGROUND]),
        ignored_pixels=int(histogram[IGNORE]),
    )


def main() -> None:
    settings = params.load()
    dataset, root = DATASETS[settings.active.dataset], Path(settings.dataset_dir)
    if not root.is_dir():
        raise InputError(
            f"dataset_dir must be the dataset's folder; there is no {settings.dataset_dir!r}"
        )
    decode = settings.active.prepare.decode
    manifest = prepare(
        dataset, root, locate_prepared(settings.profile), decode, settings.data_title
    )
    for name, split in manifest.splits:
        of = "" if settings.embedded else f" of the published {split.published}"
        print(f"{settings.data_title} {name}: {split.count}{of} images, digest {split.digest[:12]}")
