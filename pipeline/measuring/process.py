"""A function in a fresh process, with a limit of time, and what became of it.

On Linux the process is a fork of this one, which has imported PyTorch and never computes, so
that it is as fresh as a new one and starts in milliseconds; elsewhere it is started anew.
"""

import multiprocessing
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

MEASURED, OVER, NOT_FITTING = "measured", "over", "not fitting"
_CONTEXT: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")

Row = dict[str, Any]


class NotFittingError(Exception):
    """The computation needs more memory than is free."""


def fresh(function: Callable[..., Row], *arguments: Any, limit: float) -> Row:
    """What `function` returns, with its status: measured, over (the limit in seconds), or not
    fitting (in memory). Any other failure is a RuntimeError with the reason."""
    ours, theirs = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_child, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        if not ours.poll(limit):
            return {"status": OVER}
        row: Row = ours.recv()
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGKILL:  # by the kernel, for want of memory
            return {"status": NOT_FITTING}
        raise RuntimeError(f"a measurement ended with exit status {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
        ours.close()
    if "failed" in row:
        raise RuntimeError(f"a measurement failed: {row['failed']}")
    return row


def _child(results: Connection, function: Callable[..., Row], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    score = Path("/proc/self/oom_score_adj")
    if score.exists():  # if memory runs out, this process goes and not the one that waits
        score.write_text("1000", encoding="utf-8")
    try:
        results.send({"status": MEASURED, **function(*arguments)})
    except Exception as error:
        fits = not isinstance(error, NotFittingError | MemoryError) and not _is_allocation(error)
        results.send({"failed": repr(error)} if fits else {"status": NOT_FITTING})


def _is_allocation(error: Exception) -> bool:
    """Whether PyTorch could not allocate; on the CPU it raises a plain RuntimeError."""
    return "out of memory" in str(error) or "can't allocate memory" in str(error)


def series(jobs: list[Row], function: Callable[..., Row], limit: float) -> list[Row]:
    """Measure jobs of growing `flops`, one after the other; each row is its job and what came out.

    After the first that is over the limit or does not fit, the larger ones are not tried; nor is
    one that would be over the limit at the rate of the one before.
    """
    rows: list[Row] = []
    for job in sorted(jobs, key=lambda job: job["flops"]):
        last = rows[-1] if rows else None
        if last is not None and last["status"] != MEASURED:
            found: Row = {"status": last["status"]}
        elif last is not None and last["seconds"] * job["flops"] > limit * last["flops"]:
            found = {"status": OVER}
        else:
            found = fresh(function, job, limit=limit)
        rows.append(job | found)
    return rows
