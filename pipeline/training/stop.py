"""SIGTERM, as SLURM and others send it before they kill: a flag for the loop to read."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    asked = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


@contextmanager
def on_sigterm() -> Iterator[Stop]:
    """Within the block SIGTERM ends nothing, but is noted."""
    stop = Stop()
    before = signal.signal(signal.SIGTERM, stop._ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
