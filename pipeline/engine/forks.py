"""Commands of this program in processes that start with the slow libraries imported.

Importing PyTorch and Fabric takes seconds, and a reproduction starts more than a hundred short
commands. Python's own fork server imports the libraries once and forks each command from itself.
The project's modules are not among them: each command reads them from the disk.
"""

import multiprocessing
import os
import runpy
import signal
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

LIBRARIES = [
    *("lightning_fabric", "matplotlib.pyplot", "numpy", "pandas", "pydantic", "rich.progress"),
    *("ruamel.yaml", "safetensors.torch", "scipy.stats", "torchvision.models", "typer"),
]


def warm_up() -> None:
    """Start the fork server, so that it imports the libraries while this process goes on."""
    if sys.platform == "linux":
        from multiprocessing import forkserver

        _context(warm=True)
        forkserver.ensure_running()


def start(
    words: list[str], log: Path, environment: Mapping[str, str], warm: bool = True
) -> BaseProcess:
    """Start `python -m pipeline WORDS`.

    Args:
        words: The command and its arguments.
        log: What it prints goes here.
        environment: Variables to set for it.
        warm: Fork it, or start it as a new process, whose time and memory are its own.
    """
    log.parent.mkdir(exist_ok=True)
    process: BaseProcess = _context(warm).Process(  # type: ignore[attr-defined]
        target=_run, args=(words, str(log), dict(environment))
    )
    process.start()
    return process


def _context(warm: bool) -> BaseContext:
    if not (warm and sys.platform == "linux"):  # elsewhere a fork is not safe
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    return context


def _run(words: list[str], log: str, environment: dict[str, str]) -> None:
    """In the new process: become the command."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it decides, and sends SIGTERM
    threading.Thread(target=_end_with_starter, daemon=True).start()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    # As in a new Python. The workers of another fork server would outlive a command that is killed.
    multiprocessing.set_start_method(None, force=True)
    os.environ |= environment
    sys.argv = ["pipeline", *words]
    runpy.run_module("pipeline", run_name="__main__", alter_sys=True)


def _end_with_starter() -> None:
    """End this process when the one that asked for it ends; the fork server outlives it."""
    starter = multiprocessing.parent_process()
    assert starter is not None
    wait([starter.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
