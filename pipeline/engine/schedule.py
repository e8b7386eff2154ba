"""Run stages side by side, each as soon as what it depends on is done."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from pipeline.engine import forks
from pipeline.engine.dvc import Stages
from pipeline.engine.errors import InputError
from pipeline.engine.progress import Reporter

WRITE_SECONDS = 30.0  # between two writes of dvc.lock, which take DVC about a second each


@dataclass
class Schedule:
    """Works through all stages of dvc.yaml, and keeps why a stage failed.

    Attributes:
        stages: DVC's stages.
        jobs: How many run side by side.
        alone: Stages that run with nothing beside them, in processes of their own.
        rank: Which of several stages that could start goes first: the one of the smallest rank.
        devices: What CUDA_VISIBLE_DEVICES may name; the jobs take turns.
        logs: The folder of what each stage prints.
        first: Nothing is reported before this stage is done.
        on_done: Called with a stage's name when it is done.
        ran: The stages that ran, or came from DVC's run cache.
        failures: Why stages failed, by name.
    """

    stages: Stages
    jobs: int
    alone: frozenset[str]
    rank: Callable[[str], int]
    devices: list[str]
    logs: Path
    first: str
    on_done: Callable[[str], None]
    ran: set[str] = field(default_factory=set)
    failures: dict[str, str] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)
    _skipped: dict[str, str] = field(default_factory=dict)  # and the failure that is the cause
    _running: dict[str, tuple[BaseProcess, int, float]] = field(default_factory=dict)
    _seconds: dict[str, list[float]] = field(default_factory=dict)
    _written: float = field(default_factory=time.monotonic)

    def work(self) -> None:
        """Run everything that is stale; what depends on a failure is left out."""
        with Reporter("repro", len(self.stages.upstream)) as reporter:
            try:
                while self._waiting() or self._running:
                    self._start_ready()
                    self._finish_ended()
                    if time.monotonic() - self._written > WRITE_SECONDS:
                        self._write()
                    ended = self._ended_stages
                    if self._running and self.first in ended:
                        reporter.report(len(ended), self._left(), " ".join(sorted(self._running)))
            finally:
                self._stop()
                self._write()

    @property
    def _ended_stages(self) -> set[str]:
        return self._done | self._skipped.keys() | self.failures.keys()

    def _waiting(self) -> set[str]:
        return self.stages.upstream.keys() - self._ended_stages - self._running.keys()

    def _start_ready(self) -> None:
        """Start what can start, and pass over what is up to date or cached."""
        while ready := self._ready():
            name = min(ready, key=lambda n: (n in self.alone, self.rank(n)))
            if any(running in self.alone for running in self._running):
                return
            try:
                if self.stages.is_current(name):
                    self._end(name, ran=False)
                elif len(self._running) >= (1 if name in self.alone else self.jobs):
                    return
                elif self.stages.restore(name):
                    self._end(name, ran=True)
                else:
                    self._start(name)
            except InputError as error:
                self.failures[name] = str(error)

    def _ready(self) -> list[str]:
        """Return the stages with nothing left to wait for."""
        ready = []
        for name in sorted(self._waiting()):
            causes = {n: n for n in self.failures} | self._skipped
            needed = self.stages.upstream[name]
            # A stage that gathers runs starts with those that succeeded, unless none can.
            required = self.stages.required[name]
            fatal = [
                causes[n]
                for n in sorted(needed & causes.keys())
                if n in required or "@" not in causes[n]
            ]
            if fatal:
                self._skipped[name] = fatal[0]
            elif needed <= self._done | causes.keys():
                ready.append(name)
        return ready

    def _start(self, name: str) -> None:
        taken = {slot for _, slot, _ in self._running.values()}
        slot = next(i for i in range(self.jobs) if i not in taken)
        environment = {"DVC_STAGE": name}
        if self.devices:
            environment["CUDA_VISIBLE_DEVICES"] = self.devices[slot % len(self.devices)]
        process = forks.start(
            self.stages.words(name), self._log(name), environment, warm=name not in self.alone
        )
        self._running[name] = process, slot, time.monotonic()

    def _finish_ended(self) -> None:
        wait([process.sentinel for process, _, _ in self._running.values()], timeout=0.5)
        for name, (process, _, began) in list(self._running.items()):
            if process.is_alive():
                continue
            process.join()
            del self._running[name]
            if process.exitcode:
                self.failures[name] = self._reason(name, process.exitcode)
            else:
                self._seconds.setdefault(_kind(name), []).append(time.monotonic() - began)
                try:
                    self.stages.record(name)
                    self._end(name, ran=True)
                except InputError as error:
                    self.failures[name] = str(error)

    def _end(self, name: str, ran: bool) -> None:
        self._done.add(name)
        if ran:
            self.ran.add(name)
        self.on_done(name)

    def _reason(self, name: str, status: int) -> str:
        lines = self._log(name).read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        if errors:
            return errors[-1].removeprefix("error: ")
        return f"it ended with exit status {status}; see {self._log(name)}"

    def _log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def _left(self) -> float | None:
        """Estimate the seconds left, once a stage of each kind that takes long has ended."""
        left = 0.0
        waiting = (self._waiting() | self._running.keys()) - self.alone
        for kind in {_kind(name) for name in waiting if "@" in name}:
            if kind not in self._seconds:
                return None
            mean = sum(self._seconds[kind]) / len(self._seconds[kind])
            left += mean * sum(_kind(name) == kind for name in waiting)
        return left / self.jobs if left else None

    def _write(self) -> None:
        self.stages.write()
        self._written = time.monotonic()

    def _stop(self) -> None:
        """End what still runs; a training saves its state first."""
        for process, _, _ in self._running.values():
            process.terminate()
        for process, _, _ in self._running.values():
            process.join()


def _kind(name: str) -> str:
    return name.partition("@")[0]
