"""Resume an interrupted prepare, by a partial folder with journals of the finished samples.

The partial folder lies beside the output, because DVC deletes the output before it runs the stage.
One journal gains a line when a sample is checked, the other when a decoded sample is on the disk.
Of the latter, the next run takes the lines up to the first whose bytes do not have its digest.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from pipeline.data.formats import Dataset, Pair
from pipeline.data.formats.files import describe_missing
from pipeline.data.formats.reading import sample_digest
from pipeline.data.prepared.store import read_decoded
from pipeline.engine.errors import InputError
from pipeline.engine.files import digest, read_json, whole_file, write_json
from pipeline.settings import code

CONTENT = "content"  # the folder in the partial one that becomes the output
LIBRARIES = [version("pillow"), version("pyspng")]  # the decoders


class Entry(NamedTuple):
    """A finished sample; `counts` are pairs of a class id and its number of pixels."""

    name: str
    height: int
    width: int
    digest: str
    counts: list[list[int]]


def compute_signature(
    dataset: Dataset, root: Path, pairs: Mapping[str, Sequence[Pair]], decode: bool
) -> str:
    """Return a digest of all that shapes the prepared data; of files, names, sizes and times."""
    files = {
        split: [(p.name, _stat_file(p.image, root), _stat_file(p.label, root)) for p in split_pairs]
        for split, split_pairs in pairs.items()
    }
    lookup = (dataset.name, dataset.classes, dataset.lookup.tolist())
    return digest([str(root), files, lookup, decode, code.digests("prepare"), *LIBRARIES])


def _stat_file(file: Path, root: Path) -> tuple[str, int, int]:
    try:
        status = file.stat()
    except FileNotFoundError:
        raise InputError(describe_missing(file)) from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    return file.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns


@contextmanager
def open_partial_folder(out: Path, signature: str) -> Iterator[Path]:
    """Open a folder that outlives an interrupted run; at the end its CONTENT becomes `out`.

    A folder with another signature is deleted first.
    """
    folder = out.with_name(f".{out.name}.partial")
    signature_file = folder / "signature.json"
    if not signature_file.exists() or read_json(signature_file) != signature:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        write_json(signature_file, signature)
    (folder / CONTENT).mkdir(exist_ok=True)
    yield folder
    if out.exists():
        shutil.rmtree(folder / "old", ignore_errors=True)
        out.rename(folder / "old")
    (folder / CONTENT).rename(out)
    shutil.rmtree(folder)


def open_journal(folder: Path, split: str, decode: bool) -> "Journal":
    """Open the journal of a split's samples that are checked, or decoded."""
    if not decode:
        return Journal(folder / f"{split}-check.journal")

    def read_digest(entry: Entry, start: int) -> str:
        sample = read_decoded(folder / CONTENT, split, start, (entry.height, entry.width))
        return sample_digest(entry.name, sample.image.data, sample.label)

    return Journal(folder / f"{split}-decode.journal", read_digest)


class Journal:
    """The samples of one split that are finished, each on the disk at once.

    Args:
        file: The journal's file, which may be of an interrupted run.
        read_digest: Returns the digest of what is written of an entry, given the number of
            positions of all entries before it; None where nothing is written. The entries from the
            first with another digest are dropped.
    """

    def __init__(self, file: Path, read_digest: Callable[[Entry, int], str] | None = None) -> None:
        self.entries = list(_read_entries(file)) if file.exists() else []
        if read_digest is not None:
            self.entries = list(_select_written(self.entries, read_digest))
        with whole_file(file) as temporary:
            temporary.write_text(
                "".join(f"{json.dumps(entry)}\n" for entry in self.entries), encoding="utf-8"
            )
        self._file = file.open("a", encoding="utf-8")

    def add(self, entry: Entry) -> None:
        """Add a sample whose bytes are on the disk already."""
        self.entries.append(entry)
        self._file.write(f"{json.dumps(entry)}\n")
        self._file.flush()

    def close(self) -> None:
        """Close the journal's file."""
        self._file.close()


def _read_entries(file: Path) -> Iterator[Entry]:
    """Yield the entries up to the first damaged line; an interrupt may have cut the last one."""
    for line in file.read_text(errors="replace", encoding="utf-8").splitlines():
        try:
            yield Entry(*json.loads(line))
        except (ValueError, TypeError):
            return


def _select_written(
    entries: Iterable[Entry], read_digest: Callable[[Entry, int], str]
) -> Iterator[Entry]:
    """Yield the entries up to the first whose bytes are missing or wrong."""
    start = 0
    for entry in entries:
        try:
            actual = read_digest(entry, start)
        except (OSError, ValueError):  # no file, or too short
            return
        if actual != entry.digest:
            return
        yield entry
        start += entry.height * entry.width
