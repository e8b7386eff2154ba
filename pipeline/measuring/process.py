"""Run a function in a process of its own, with a time limit.

On Linux the process is a fork of this one. It starts in milliseconds and is as good as a new one,
because this one has imported PyTorch but never computes. Elsewhere a new process is started.
"""

import multiprocessing
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

from pipeline.settings.records import Status

MEASURED: Final = "measured"
OVER: Final = "over"
NOT_FITTING: Final = "not fitting"
_CONTEXT: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


class HasOperations(Protocol):
    """A job that says how many operations it takes."""

    @property
    def flops(self) -> int: ...


class HasSeconds(Protocol):
    """A measurement that says how long a call takes."""

    @property
    def seconds(self) -> float: ...


T = TypeVar("T")
Job = TypeVar("Job", bound=HasOperations)
Result = TypeVar("Result", bound=HasSeconds)


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """The status of a function's process, and the function's result, None unless measured."""

    status: Status
    result: T | None = None

    def require(self) -> T:
        """Return the result.

        Raises:
            RuntimeError: There is none.
        """
        if self.result is None:
            raise RuntimeError(f"a measurement is {self.status}")
        return self.result


@dataclass(frozen=True)
class _Failure:
    reason: str


class NotFittingError(Exception):
    """The computation needs more memory than is free."""


def run_in_process(function: Callable[..., T], *arguments: Any, limit: float) -> Outcome[T]:
    """Call a function in a process of its own.

    Returns:
        The function's result with the status `measured`. The status is `over` if it takes longer
        than `limit` seconds, and `not fitting` if it needs more memory than is free.

    Raises:
        RuntimeError: The function fails for any other reason.
    """
    ours, theirs = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_run_child, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        if not ours.poll(limit):
            return Outcome(OVER)
        message: Outcome[T] | _Failure = ours.recv()
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGKILL:  # by the kernel, because memory ran out
            return Outcome(NOT_FITTING)
        raise RuntimeError(f"a measurement ended with exit status {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
        ours.close()
    if isinstance(message, _Failure):
        raise RuntimeError(f"a measurement failed: {message.reason}")
    return message


def _run_child(
    results: Connection, function: Callable[..., object], arguments: tuple[Any, ...]
) -> None:
    """Call the function and send its outcome."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    score = Path("/proc/self/oom_score_adj")
    if score.exists():  # if memory runs out, the kernel ends this process and not its parent
        score.write_text("1000", encoding="utf-8")
    try:
        results.send(Outcome(MEASURED, function(*arguments)))
    except Exception as error:
        fits = not isinstance(error, NotFittingError | MemoryError) and not _is_allocation(error)
        results.send(_Failure(repr(error)) if fits else Outcome(NOT_FITTING))


def _is_allocation(error: Exception) -> bool:
    """Return whether PyTorch could not allocate; on the CPU it raises only a RuntimeError."""
    return "out of memory" in str(error) or "can't allocate memory" in str(error)


def measure_series(
    jobs: list[Job], function: Callable[[Job], Result], limit: float
) -> list[tuple[Job, Outcome[Result]]]:
    """Measure jobs one after the other, by growing `flops`; return each with its outcome.

    After the first job that is over the limit or does not fit, larger ones are not tried. Neither
    is a job that would be over the limit at the rate of the previous one.
    """
    rows: list[tuple[Job, Outcome[Result]]] = []
    for job in sorted(jobs, key=lambda job: job.flops):
        last_job, last = rows[-1] if rows else (job, None)
        if last is None:
            outcome = run_in_process(function, job, limit=limit)
        elif last.result is None:
            outcome = last
        elif last.result.seconds * job.flops > limit * last_job.flops:
            outcome = Outcome(OVER)
        else:
            outcome = run_in_process(function, job, limit=limit)
        rows.append((job, outcome))
    return rows
