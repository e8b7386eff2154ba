"""Where a number comes from: code version, machine and libraries."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.common.files import file_digest

LOCK = Path("requirements.lock")
LIBRARIES = ("torch", "torchvision", "lightning-fabric", "numpy", "pillow")
GENERATED = (":!reports", ":!dvc.lock")  # what a run itself changes does not make it dirty


def _git(*words: str) -> str | None:
    try:
        # Git refuses to read a clone of another user, in case its settings run a program. Whoever
        # calls this runs the clone's own code already.
        trusted = ["-c", f"safe.directory={Path.cwd()}"]
        done = subprocess.run(
            ["git", *trusted, *words],
            capture_output=True,
            check=True,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def code_version() -> dict[str, Any]:
    """The git commit, and whether the tree differed from it; None outside a repository."""
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *GENERATED)
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if changed is None else bool(changed),
    }


def told(code: dict[str, Any]) -> str:
    """What code_version found, in words."""
    return (code["commit"] or "unknown")[:10] + (" + changes" if code["dirty"] else "")


def run_name(record: dict[str, Any]) -> str:
    """A run's name in the tables and in every MLflow store."""
    return f"{record['variant']}-{record['seed']}-{record['fingerprint'][:8]}"


def weights_digest(weights: str | None) -> str | None:
    """sha256 of the file that `network.weights` names; torchvision's are known by their name."""
    if weights is None or not Path(weights).is_file():
        return None
    return file_digest(Path(weights))


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def environment(device: str) -> dict[str, Any]:
    """The machine and the libraries."""
    import torch  # here, for most of what imports this module does without

    return {
        "device": device,
        "cpu": cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),  # last digits depend on it
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "lock": file_digest(LOCK) if LOCK.exists() else None,
    }
