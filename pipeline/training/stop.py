"""Turn SIGTERM, which SLURM and others send before they kill, into a flag for the loop."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether a signal requested a stop."""

    is_requested = False

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.is_requested = True


@contextmanager
def catch_sigterm() -> Iterator[Stop]:
    """Set a flag on SIGTERM inside the context, instead of ending the process."""
    stop = Stop()
    before = signal.signal(signal.SIGTERM, stop._request)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
