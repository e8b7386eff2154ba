"""Write files completely or not at all, and compute digests of their content."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to, and rename it to `path` when the block succeeds.

    The file is synced to the disk before the rename. After a loss of power there is the old file or
    the new one.

    Raises:
        OSError: The block failed to write; the error names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # write() on a full disk names no file
        raise
    finally:
        partial.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove the partial files of processes that were killed while they wrote this file."""
    for partial in path.parent.glob(f".{path.name}.*.partial"):
        process = partial.name.split(".")[-2]
        if not (process.isdecimal() and psutil.pid_exists(int(process))):
            partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to write to, and let it replace `path` when the block succeeds.

    There is never a partial folder at `path`, because the old one is moved away before it is
    deleted. A kill between the two renames leaves no folder, and the next run writes it again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, old = (path.with_name(f".{path.name}.{state}") for state in ("partial", "old"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)  # of a run that was killed
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
    """Write a value as indented JSON, completely or not at all."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Return the value in a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def flatten(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings, each with its keys joined by dots."""
    if not isinstance(value, dict):
        yield key, value
        return
    for name, inner in value.items():
        yield from flatten(inner, f"{key}.{name}" if key else name)


def digest(value: Any) -> str:
    """Return the sha256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def digest_file(path: Path) -> str:
    """Return the sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
