"""Take away what DVC left half-written when it was killed; `make repro` begins with this.

    python -m pipeline.mend

DVC writes dvc.lock and .dvc/tmp/rwlock in place, so a kill may cut them off, or leave in the latter
who no longer runs, and then DVC refuses to run. Without them nothing is trained again: DVC's run
cache knows all that was made.
"""

import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import psutil
import yaml

from pipeline.common import cli

LOCK = Path("dvc.lock")
RWLOCK = Path(".dvc/tmp/rwlock")  # who reads and writes what just now
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def is_whole_lock(text: str) -> bool:
    """Whether each stage of a dvc.lock has its command and whole entries."""
    try:
        held: Any = _Loader(text).get_single_data()
        stages = list(held["stages"].values())
        entries = [e for s in stages for e in (*s.get("deps", []), *s.get("outs", []))]
        whole_lines = text.endswith("\n") and not text.endswith(":\n")
        return whole_lines and all("cmd" in s for s in stages) and all(e["path"] for e in entries)
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return False


def is_whole_rwlock(text: str) -> bool:
    """Whether it can be read, and not all whom it names have ended."""
    try:
        held = json.loads(text)
        readers = chain.from_iterable(held.get("read", {}).values())
        users = [*held.get("write", {}).values(), *readers]
        return not users or any(_runs(user["pid"]) for user in users)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _runs(pid: int) -> bool:
    """DVC itself takes a process that was killed and not yet waited for as one that runs."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def mend() -> None:
    """Only where no DVC command is running: what it is writing is not whole either."""
    checks: tuple[tuple[Path, Callable[[str], bool]], ...] = (
        (LOCK, is_whole_lock),
        (RWLOCK, is_whole_rwlock),
    )
    for file, is_whole in checks:
        if file.exists() and not is_whole(file.read_text(errors="replace")):
            file.unlink()
            print(f"{file} was cut off by a kill and is taken away; DVC makes it again")


if __name__ == "__main__":
    cli.run(mend)
