"""Record where a number comes from: code version, machine and libraries."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict

from pipeline.engine.files import digest_file

LOCK = Path("requirements.lock")
LIBRARIES = ("torch", "torchvision", "lightning-fabric", "numpy", "pillow")
# A run changes these itself, and its record has its settings.
BESIDE = (":!reports", ":!dvc.lock", ":!README.md", ":!docs/performance.md", ":!params.yaml")


def _run_git(*words: str) -> str | None:
    try:
        # Git refuses to read a clone of another user, because its settings could run a program.
        # The caller already runs the clone's own code.
        trusted = ["-c", f"safe.directory={Path.cwd()}"]
        process = subprocess.run(
            ["git", *trusted, *words],
            capture_output=True,
            check=True,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return process.stdout.strip()


class CodeVersion(TypedDict):
    """The git commit, and whether the tree differs from it; None outside a repository."""

    commit: str | None
    dirty: bool | None


class Machine(TypedDict):
    """The machine and the libraries; `lock` is the digest of the lock file."""

    device: str
    cpu: str
    cpu_capability: str
    cores: int | None
    system: str
    python: str
    libraries: dict[str, str]
    lock: str | None


def read_code_version() -> CodeVersion:
    """Return the commit of the working folder, and whether its code differs from it."""
    changed = _run_git("status", "--porcelain", "--untracked-files=no", "--", ".", *BESIDE)
    return {
        "commit": _run_git("rev-parse", "HEAD"),
        "dirty": None if changed is None else bool(changed),
    }


def describe_code(commit: str | None, dirty: bool | None) -> str:
    """Return a code version in words."""
    return (commit or "unknown")[:10] + (" + changes" if dirty else "")


def read_cpu_name() -> str:
    """Return the name of the processor's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def describe_machine(device: str) -> Machine:
    """Return the machine and the libraries of this process.

    Args:
        device: The name of the GPU or the processor that computes.
    """
    import torch  # here, because most modules that import this one work without it

    return {
        "device": device,
        "cpu": read_cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),  # rounding depends on it
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "lock": digest_file(LOCK) if LOCK.exists() else None,
    }
