"""When something that is not training is due, so that it takes a small part of the time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Pace:
    """Due every `seconds`, or as much later as keeps all of it within 1 / `part` of the time.

    first: when it is due first. Zero seconds is due always: for tests.
    """

    def __init__(self, seconds: float, part: int, first: float | None = None) -> None:
        self.seconds, self.part = seconds, part
        self.spent = 0.0
        self._began = time.monotonic()
        self._next = self._began + (seconds if first is None else first)

    def due(self) -> bool:
        return time.monotonic() >= self._next

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Around the thing itself."""
        start = time.monotonic()
        try:
            yield
        finally:
            now = time.monotonic()
            self.spent += now - start
            self._next = now
            if self.seconds:  # what one more will take is not known: as much as this one
                wanted = self._began + self.part * (self.spent + now - start)
                self._next = max(now + self.seconds, wanted)
