"""How a stage starts and how it fails: one sentence and a non-zero exit, never a traceback."""

import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from reprlib import Repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

from pipeline.common.orphans import end_with_parent

_BRIEF = Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother, _BRIEF.maxlong = 2, 80, 80, 40
_BRIEF.maxlist = _BRIEF.maxtuple = 12

_DISK = {
    errno.ENOSPC: "no room is left on the disk",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EFBIG: "a file may not grow that large here",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "there is no permission",
    errno.EPERM: "there is no permission",
}


class InputError(Exception):
    """A mistake in what the user gave; its text names the file or key and what is allowed."""


def brief(value: Any) -> str:
    """A value for a sentence: in one line, and short however large or nested it is."""
    text = _BRIEF.repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def word(name: str) -> str:
    """A key or name for a sentence: as it is, or quoted where it would not read as one."""
    return name if len(name) <= 64 and name.isprintable() else brief(name)


def sentence(error: "ValidationError") -> str:
    """The first problem of a schema as key, value and what is allowed."""
    first, *others = error.errors()
    steps = [str(step) for step in first["loc"] if step != "[key]"]
    key, value, kind = ".".join(map(word, steps)), first["input"], first["type"]
    more = f" ({len(others)} more like it)" if others else ""
    if kind == "extra_forbidden":
        return f"{key} is not a known key{more}"
    if kind == "missing":
        return f"{key} is missing{more}"
    allowed = first["msg"].replace("Input should be", "allowed is")
    if kind == "string_pattern_mismatch":
        allowed = "allowed are small letters, digits and _, a letter first"
    return f"{key} is {brief(value)}; {allowed}{more}"


class RunFailed(InputError):  # noqa: N818
    """A run that cannot end with these settings; `at` is the iteration, counted from 1."""

    def __init__(self, reason: str, at: int | None = None) -> None:
        super().__init__(reason)
        self.at = at


class Stopped(Exception):  # noqa: N818
    """A run was asked to end, by SIGTERM, and its state is saved."""


def run(stage: Callable[[], None]) -> None:
    """Run a stage; an InputError becomes one line on stderr and exit status 1.

    So does a disk that is full or not ours to write: what was there is kept.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a letter that a terminal lacks is no failure
            stream.reconfigure(errors="replace")
    if "DVC_STAGE" in os.environ:  # DVC is the parent, and a stage without it is lost
        end_with_parent()
    try:
        stage()
    except InputError as error:
        _leave(f"error: {error}", 1)
    except OSError as error:
        if error.errno not in _DISK:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _leave(
            f"error: {where}{_DISK[error.errno]}; all that was finished is kept, and `dvc repro` "
            f"goes on from here",
            1,
        )
    except Stopped as stop:
        _leave(f"{stop}; `dvc repro` goes on from here", 128 + signal.SIGTERM)
    except KeyboardInterrupt:
        _leave("interrupted; `dvc repro` goes on from here", 128 + signal.SIGINT)


def _leave(sentence: str, status: int) -> None:
    print(sentence, file=sys.stderr)
    sys.exit(status)
