"""Progress: a bar on a terminal, one line an event elsewhere."""

import sys
import time

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

EVENT_SECONDS = 10.0


def bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        refresh_per_second=2,
        speed_estimate_period=600,  # seconds; the default of 30 sees too few runs to go by
    )


class Reporter:
    """Reports steps done of a total; used as a context manager. `shown` is for one process only."""

    def __init__(self, title: str, total: int, done: int = 0, shown: bool = True) -> None:
        self.title, self.total, self.start, self.shown = title, total, done, shown
        self._began = self._told = time.monotonic()
        self._bar = bar() if shown and sys.stdout.isatty() else None
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
        if self._bar:
            self._bar.update(self._task, completed=done, note=note)
            return
        now = time.monotonic()
        if not self.shown or (done < self.total and now - self._told < EVENT_SECONDS):
            return
        self._told = now
        left = (now - self._began) / max(1, done - self.start) * (self.total - done)
        print(f"{self.title}: {done}/{self.total}, {left:.0f} s left {note}".rstrip(), flush=True)
