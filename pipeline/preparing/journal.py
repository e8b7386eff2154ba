"""What lets an interrupted prepare go on: a partial folder with journals of the finished samples.

The partial folder lies beside the output, for DVC deletes the output before it runs the stage. A
journal gains a line when a sample is checked, another when it is decoded and completely written.
Of the latter the next run takes the lines whose bytes are there and have the digest they say.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from pipeline.common.cli import InputError
from pipeline.common.files import code_digest, digest, read_json, whole_file, write_json
from pipeline.datasets import Dataset, Pair
from pipeline.datasets.files import missing
from pipeline.datasets.reading import sample_digest
from pipeline.inputs.store import read_decoded

CONTENT = "content"  # in the partial folder: what becomes the output
LIBRARIES = [version("pillow"), version("pyspng")]  # that decode
_PIPELINE = Path(__file__).parents[1]
_CODE = [_PIPELINE / p for p in ("datasets", "inputs/store.py", "prepare.py", "preparing")]


class Entry(NamedTuple):
    """A finished sample; counts are pairs of a class id and its pixels."""

    name: str
    height: int
    width: int
    digest: str
    counts: list[list[int]]


def signature(
    dataset: Dataset, root: Path, pairs: Mapping[str, Sequence[Pair]], decode: bool
) -> str:
    """All that the prepared data depend on; of the files their names, sizes and times."""
    stamps = {
        split: [(p.name, _stamp(p.image, root), _stamp(p.label, root)) for p in listed]
        for split, listed in pairs.items()
    }
    lookup = (dataset.name, dataset.classes, dataset.lookup.tolist())
    return digest([str(root), stamps, lookup, decode, code_digest(_CODE), *LIBRARIES])


def _stamp(file: Path, root: Path) -> tuple[str, int, int]:
    try:
        found = file.stat()
    except FileNotFoundError:
        raise InputError(missing(file)) from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    return file.relative_to(root).as_posix(), found.st_size, found.st_mtime_ns


@contextmanager
def partial_folder(out: Path, signature: str) -> Iterator[Path]:
    """A folder that outlives an interrupted run of this signature; its CONTENT becomes `out`."""
    folder = out.with_name(f".{out.name}.partial")
    mark = folder / "signature.json"
    if not mark.exists() or read_json(mark) != signature:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        write_json(mark, signature)
    (folder / CONTENT).mkdir(exist_ok=True)
    yield folder
    if out.exists():
        shutil.rmtree(folder / "old", ignore_errors=True)
        out.rename(folder / "old")
    (folder / CONTENT).rename(out)
    shutil.rmtree(folder)


class Journal:
    """The samples of one split that are checked, or decoded; on the disk as soon as told."""

    def __init__(self, folder: Path, split: str, decode: bool) -> None:
        file = folder / f"{split}-{'decode' if decode else 'check'}.journal"
        said = list(_lines(file)) if file.exists() else []
        self.entries = list(_intact(said, folder / CONTENT, split)) if decode else said
        with whole_file(file) as partial:
            partial.write_text(
                "".join(f"{json.dumps(entry)}\n" for entry in self.entries), encoding="utf-8"
            )
        self._file = file.open("a", encoding="utf-8")

    def add(self, entry: Entry) -> None:
        """Call this when the sample's bytes are written."""
        self.entries.append(entry)
        self._file.write(f"{json.dumps(entry)}\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _lines(file: Path) -> Iterator[Entry]:
    """The whole lines; the last one may have been cut."""
    for line in file.read_text(errors="replace", encoding="utf-8").splitlines():
        try:
            yield Entry(*json.loads(line))
        except (ValueError, TypeError):
            return


def _intact(entries: Iterable[Entry], content: Path, split: str) -> Iterator[Entry]:
    """The entries up to the first whose bytes are not there."""
    start = 0
    for entry in entries:
        size = entry.height, entry.width
        try:
            sample = read_decoded(content, split, start, size)
        except (OSError, ValueError):  # no file, or too short
            return
        if sample_digest(entry.name, sample.image.data, sample.label) != entry.digest:
            return
        yield entry
        start += entry.height * entry.width
