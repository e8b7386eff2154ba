"""Repair what DVC left half-written when it was killed.

DVC writes dvc.lock and .dvc/tmp/rwlock in place. A kill may cut them off, or leave a process in the
latter that no longer runs, and then DVC refuses to run. A cut dvc.lock is replaced by the last
commit's, or removed if there is none. Nothing runs again, because DVC's run cache knows what ran.
"""

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import psutil
import yaml

from pipeline.engine.files import whole_file

LOCK = Path("dvc.lock")
RWLOCK = Path(".dvc/tmp/rwlock")  # the processes that DVC lists as reading or writing a path
DVC_LOCK = Path(".dvc/tmp/lock")  # a DVC command holds it, except while it runs a stage
CONFIG = Path(".dvc/config.local")  # DVC's settings of this copy alone, which git ignores
NO_GIT = "[core]\n    no_scm = true\n"
RWLOCK_HELD = Path(".dvc/tmp/rwlock.lock")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def is_whole_lock(text: str) -> bool:
    """Tell whether each stage of a dvc.lock has its command and whole entries.

    A file with git's conflict markers counts as whole, because DVC and git report those.
    """
    if "\n<<<<<<< " in text:
        return True
    try:
        held: Any = _Loader(text).get_single_data()
        stages = list(held["stages"].values())
        entries = [e for s in stages for e in (*s.get("deps", []), *s.get("outs", []))]
        whole_lines = text.endswith("\n") and not text.endswith(":\n")
        return whole_lines and all("cmd" in s for s in stages) and all(e["path"] for e in entries)
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return False


def is_whole_rwlock(text: str) -> bool:
    """Tell whether the text can be read, and a process that it names still runs."""
    try:
        held = json.loads(text)
        readers = chain.from_iterable(held.get("read", {}).values())
        users = [*held.get("write", {}).values(), *readers]
        return not users or any(_runs(user["pid"]) for user in users)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _runs(pid: int) -> bool:
    """Tell whether a process runs; DVC also counts one that was killed and not yet waited for."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def try_lock(file: Path) -> Iterator[tuple[bool, TextIO]]:
    """Hold a lock file in the block if it is free; yield whether it was, and the file."""
    file.parent.mkdir(exist_ok=True)
    with file.open("a+", encoding="utf-8") as opened:
        free = True
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            free = False
        yield free, opened  # not within the except: an error of the block is its own


def mend() -> None:
    """Repair dvc.lock and .dvc/tmp/rwlock.

    It changes nothing while another DVC command holds the repository, because that command may
    still be writing these files.
    """
    if not DVC_LOCK.parent.parent.is_dir():
        return  # before `dvc init`
    fit_scm()
    with try_lock(DVC_LOCK) as (free, _), try_lock(RWLOCK_HELD) as (free_too, _):
        if not (free and free_too):
            return
        if RWLOCK.exists() and not is_whole_rwlock(
            RWLOCK.read_text(errors="replace", encoding="utf-8")
        ):
            RWLOCK.unlink()
        if LOCK.exists() and not is_whole_lock(LOCK.read_text(errors="replace", encoding="utf-8")):
            _restore()


def fit_scm() -> None:
    """Let DVC run where the files came without git, as from a source archive."""
    if Path(".dvc").is_dir() and not Path(".git").exists() and not CONFIG.exists():
        with whole_file(CONFIG) as partial:
            partial.write_text(NO_GIT, encoding="utf-8")
    elif Path(".git").exists() and CONFIG.exists() and CONFIG.read_text(encoding="utf-8") == NO_GIT:
        CONFIG.unlink()


def _restore() -> None:
    done = subprocess.run(["git", "show", f"HEAD:./{LOCK}"], capture_output=True)
    if done.returncode:
        LOCK.unlink()
    else:
        with whole_file(LOCK) as partial:
            partial.write_bytes(done.stdout)
    print(
        f"{LOCK} was cut off when DVC was killed; the last commit's is back, nothing runs again",
        file=sys.stderr,
    )
