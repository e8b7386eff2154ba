"""How a stage starts and how it fails: one sentence and a non-zero exit, never a traceback."""

import errno
import signal
import sys
from collections.abc import Callable

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
