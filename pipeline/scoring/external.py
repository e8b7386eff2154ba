"""Score label files that others predicted, with the confusion matrix of our own networks."""

from pathlib import Path

import numpy as np

from pipeline.data.formats import BACKGROUND, IGNORE, UNKNOWN, Dataset
from pipeline.data.formats.base import Pixels
from pipeline.data.prepared.store import Store
from pipeline.engine.errors import InputError
from pipeline.engine.files import digest, digest_file
from pipeline.engine.progress import Reporter
from pipeline.scoring.categories import categories
from pipeline.scoring.results import count, protocol_scores
from pipeline.settings.records import Manifest, ProtocolScores


def match_files(folder: Path, names: list[str]) -> list[Path]:
    """Return the PNG of each sample: NAME.png or NAME_*.png, anywhere below the folder.

    Raises:
        InputError: A sample has no file or several, or a file is of no sample.
    """
    files: dict[str, Path] = {}
    known = set(names)
    for file in sorted(folder.rglob("*.png")):
        name = _find_name(file.stem, known)
        if name is None:
            raise InputError(f"{file} is of no image of the validation split, such as {names[0]}")
        if name in files:
            raise InputError(f"{file} and {files[name]} are both of {name}; keep one")
        files[name] = file
    missing = [name for name in names if name not in files]
    if missing:
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"{folder} lacks {missing[0]}.png{more}; a prediction of each is needed")
    return [files[name] for name in names]


def _find_name(stem: str, names: set[str]) -> str | None:
    """Return the sample's name that the stem is, or begins with before a `_`."""
    parts = stem.split("_")
    starts = ("_".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((start for start in starts if start in names), None)


def score_files(
    files: list[Path], store: Store, dataset: Dataset, manifest: Manifest
) -> tuple[ProtocolScores, str]:
    """Return the scores, and the digest of the files.

    Raises:
        InputError: A file has another size than its image, or a value that is no class.
    """
    classes, digests = len(manifest.classes), []
    total = np.zeros((classes + manifest.background,) * 2, np.int64)
    with Reporter("score", len(files)) as reporter:
        for number, file in enumerate(files):
            label = store[number].label
            ids = _read_ids(file, label, dataset)
            total += count(label[None], ids[None], classes, manifest.background)
            digests.append([store.names[number], digest_file(file)])
            reporter.update(number + 1)
    groups = categories(manifest.classes)
    return protocol_scores(total, manifest.classes, groups), digest(digests)


def _read_ids(file: Path, label: Pixels, dataset: Dataset) -> Pixels:
    values = dataset.read_labels(file)
    if values.shape != label.shape:
        found, wanted = ("{1}x{0}".format(*shape) for shape in (values.shape, label.shape))
        raise InputError(f"{file} is of {found} pixels; its image is of {wanted}")
    if values.max(initial=0) >= len(dataset.lookup):
        ids = np.full(1, UNKNOWN)
    else:
        ids = dataset.lookup[values]
    wrong = np.isin(ids, (IGNORE, BACKGROUND, UNKNOWN))
    if wrong.any():
        value = values.max() if ids.size == 1 else values[wrong][0]
        raise InputError(
            f"{file} must have the values of the dataset's own label files, got {value}, which is "
            f"no class"
        )
    return ids
