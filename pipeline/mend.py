"""Take away what DVC left half-written when it was killed; `make repro` begins with this.

    python -m pipeline.mend

DVC writes dvc.lock and .dvc/tmp/rwlock in place, so a kill may cut them off, and then it refuses to
run. Without them nothing is trained again: DVC's run cache knows all that was made.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
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
