"""How a stage starts and how it fails: one sentence and a non-zero exit, never a traceback."""

import sys
from collections.abc import Callable


class InputError(Exception):
    """A mistake in what the user gave; its text names the file or key and what is allowed."""


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
