"""Start a stage, and turn its failure into one sentence and a non-zero exit status."""

import errno
import io
import os
import re
import signal
import sys
from collections.abc import Callable
from reprlib import Repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

from pipeline.engine.orphans import end_with_parent

_REPR = Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother, _REPR.maxlong = 2, 80, 80, 40
_REPR.maxlist = _REPR.maxtuple = 12

# How pydantic's sentences begin and end.
_SUBJECT, _COUNT = re.compile(r"^\w+ should"), re.compile(r" after validation, not \d+$")

_DISK_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EFBIG: "a file may not grow that large here",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "there is no permission",
    errno.EPERM: "there is no permission",
}


class InputError(Exception):
    """Report a mistake in the user's input; the text names the file or key and what is right."""


def shorten(value: Any) -> str:
    """Return a value's repr in one line of at most 120 characters, for a message."""
    text = _REPR.repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def quote_name(name: str) -> str:
    """Return a key or name for a message; quote it if it is long or not printable."""
    return name if len(name) <= 64 and name.isprintable() else shorten(name)


def describe_invalid(error: "ValidationError") -> str:
    """Describe the first problem of a schema by its key, what it must be, and its value."""
    first, *others = error.errors()
    steps = [str(step) for step in first["loc"] if step != "[key]"]
    key, value, kind = ".".join(map(quote_name, steps)), first["input"], first["type"]
    more = f" ({len(others)} more like it)" if others else ""
    if kind == "extra_forbidden":
        return f"{key} is not a known key{more}"
    if kind == "missing":
        return f"{key} is missing{more}"
    if kind == "union_tag_invalid":
        field, tags = first["ctx"]["discriminator"].strip("'"), first["ctx"]["expected_tags"]
        return f"{key}.{field} must be one of {tags}, got {first['ctx']['tag']!r}{more}"
    rule = _COUNT.sub("", _SUBJECT.sub("must", first["msg"]))
    if kind == "string_pattern_mismatch":
        rule = "must be small letters, digits and _, a letter first"
    return f"{key} {rule}, got {shorten(value)}{more}"


class RunError(InputError):
    """Report a run that cannot finish with these settings.

    Attributes:
        iteration: The iteration at which it failed, counted from 1, if there is one.
    """

    def __init__(self, reason: str, iteration: int | None = None) -> None:
        super().__init__(reason)
        self.iteration = iteration


class Stopped(Exception):  # noqa: N818
    """Report that SIGTERM ended a run after its state was saved."""


def run(stage: Callable[[], None]) -> None:
    """Run a stage and report its failure in one line on stderr.

    An InputError, or a disk that is full or not writable, ends the process with exit status 1.
    Existing files are kept.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack a letter
            stream.reconfigure(errors="replace")
    if "DVC_STAGE" in os.environ:  # nobody records a stage after DVC ends
        end_with_parent()
    try:
        stage()
    except InputError as error:
        _exit(f"error: {error}", 1)
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        file = f"{error.filename}: " if error.filename else ""
        reason = _DISK_ERRORS[error.errno]
        _exit(
            f"error: {file}{reason}; all that was finished is kept, and `dvc repro` resumes from "
            f"here",
            1,
        )
    except Stopped as stop:
        _exit(f"{stop}; `dvc repro` resumes from here", 128 + signal.SIGTERM)
    except KeyboardInterrupt:
        _exit("interrupted; `dvc repro` resumes from here", 128 + signal.SIGINT)


def _exit(message: str, status: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(status)
