"""Report progress: a bar on a terminal, otherwise a line every few seconds."""

import sys
import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

EVENT_SECONDS = 10.0


def make_bar() -> Progress:
    """Return the bar for a terminal; each task of it needs the field `note`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        refresh_per_second=2,
    )


def format_left(seconds: float | None) -> str:
    """Return the remaining time in words, or an empty string if it is not known."""
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.0f} s left"
    return f"{seconds / 60:.0f} min left" if seconds < 6000 else f"{seconds / 3600:.1f} h left"


class Reporter:
    """Report how many steps of a total are done, inside a `with` block.

    Args:
        title: The name of the work.
        total: The number of steps.
        done: The steps that an earlier run has done.
        visible: Whether to print; only one of several processes should.
    """

    def __init__(self, title: str, total: int, done: int = 0, visible: bool = True) -> None:
        self.title, self.total, self.start, self.visible = title, total, done, visible
        self._began = self._printed = time.monotonic()
        self._bar = make_bar() if visible and sys.stdout.isatty() else None
        if self._bar:
            self._task = self._bar.add_task(title, total=total, completed=done, note="")

    def __enter__(self) -> "Reporter":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, done: int, note: str = "") -> None:
        """Report the steps that are done, and estimate the remaining time from their speed."""
        seconds_left = None
        if done > self.start:
            pace = (time.monotonic() - self._began) / (done - self.start)
            seconds_left = pace * (self.total - done)
        self.report(done, seconds_left, note)

    def report(self, done: int, seconds_left: float | None, note: str = "") -> None:
        """Report the steps that are done and the caller's own estimate of the remaining time."""
        words = ", ".join(filter(None, (format_left(seconds_left), note)))
        if self._bar:
            self._bar.update(self._task, completed=done, note=words)
            return
        now = time.monotonic()
        if not self.visible or (done < self.total and now - self._printed < EVENT_SECONDS):
            return
        self._printed = now
        print(", ".join(filter(None, (f"{self.title}: {done}/{self.total}", words))), flush=True)
