"""Files that are written whole or not at all, and digests of what they hold."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, put in place of `path` in one step when the block ends well.

    It is on the disk before it is renamed: after a loss of power too there is the old file or the
    new one. An OSError in the block names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk is told by write(), without one
        raise
    finally:
        partial.unlink(missing_ok=True)


def _remove_left(path: Path) -> None:
    """Remove what killed processes left while they wrote this file."""
    for left in path.parent.glob(f".{path.name}.*.partial"):
        process = left.name.split(".")[-2]
        if not (process.isdecimal() and psutil.pid_exists(int(process))):
            left.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """As whole_file, for a folder; what was there before is replaced.

    At no time is there a part of a folder at `path`: the old one is moved away before it is
    deleted. A kill between two renames leaves none, and the next run makes it again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, old = (path.with_name(f".{path.name}.{what}") for what in ("partial", "old"))
    for left in (partial, old):
        shutil.rmtree(left, ignore_errors=True)  # by a run that was killed
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            path.replace(old)
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings, by their keys with dots between."""
    if not isinstance(value, dict):
        yield key, value
        return
    for name, inner in value.items():
        yield from flat(inner, f"{key}.{name}" if key else name)


def digest(value: Any) -> str:
    """sha256 of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_digest(paths: Iterable[Path]) -> str:
    """sha256 of the Python files in and below `paths`, by name and content."""
    files = sorted(f for p in paths for f in (p.rglob("*.py") if p.is_dir() else [p]))
    return digest([(f.as_posix(), hashlib.sha256(f.read_bytes()).hexdigest()) for f in files])
