"""Decide when to do something beside training, so that it takes a small part of the time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Pace:
    """Something that is due every `seconds`, or later if it took more than 1 / `part` of the time.

    Args:
        seconds: The time between two. With 0 it is always due, for tests.
        part: The inverse of the part of the time that it may take.
        first: The seconds until it is due first, by default `seconds`.
    """

    def __init__(self, seconds: float, part: int, first: float | None = None) -> None:
        self.seconds, self.part = seconds, part
        self.seconds_spent = 0.0
        self._start = time.monotonic()
        self._next = self._start + (seconds if first is None else first)

    def is_due(self) -> bool:
        """Return whether it is time."""
        return time.monotonic() >= self._next

    @contextmanager
    def count_time(self) -> Iterator[None]:
        """Count the time inside the context, and set the next time."""
        start = time.monotonic()
        try:
            yield
        finally:
            now = time.monotonic()
            self.seconds_spent += now - start
            self._next = now
            if self.seconds:  # the next one is assumed to take as long as this one
                earliest = self._start + self.part * (self.seconds_spent + now - start)
                self._next = max(now + self.seconds, earliest)
