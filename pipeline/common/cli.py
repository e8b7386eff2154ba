"""How a stage starts and how it fails: one sentence and a non-zero exit, never a traceback."""

import sys
from collections.abc import Callable
from reprlib import Repr
from typing import Any

_BRIEF = Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother, _BRIEF.maxlong = 2, 80, 80, 40
_BRIEF.maxlist = _BRIEF.maxtuple = 12


class InputError(Exception):
    """A mistake in what the user gave; its text names the file or key and what is allowed."""


def brief(value: Any) -> str:
    """A value for a sentence: in one line, and short however large or nested it is."""
    text = _BRIEF.repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def word(name: str) -> str:
    """A key or name for a sentence: as it is, or quoted where it would not read as one."""
    return name if len(name) <= 64 and name.isprintable() else brief(name)


def run(stage: Callable[[], None]) -> None:
    """Run a stage; an InputError becomes one line on stderr and exit status 1."""
    try:
        stage()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; `dvc repro` goes on from here", file=sys.stderr)
        sys.exit(130)
