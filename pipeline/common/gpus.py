"""The GPUs of this machine: those that NVIDIA's driver lists, and the one that PyTorch takes."""

import os
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def names() -> list[str]:
    """Return what CUDA_VISIBLE_DEVICES may name, each a GPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(number) for number in range(_listed())]
    found = []
    for name in visible.split(","):
        if name.strip() in ("", "-1"):
            break  # CUDA sees none of those behind it
        found.append(name.strip())
    return found


def _listed() -> int:
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, encoding="utf-8", errors="replace"
        )
    except OSError:
        return 0
    lines = listed.stdout.splitlines() if listed.returncode == 0 else []
    return sum(line.startswith("GPU ") for line in lines)  # a name may say GPU too


def unusable(listed: int, usable: int) -> str:
    """Say that PyTorch takes fewer GPUs than there are."""
    instead = "takes the CPU" if usable == 0 else f"takes {usable}"
    return (
        f"the machine has {listed} GPU{'s' * (listed > 1)}, but PyTorch can use {usable} and "
        f"{instead}; its driver may be too old, as `nvidia-smi` and "
        f'`python -c "import torch; torch.cuda.init()"` tell'
    )


def device() -> "torch.device":
    """Return the device of a run: a GPU where PyTorch can use one."""
    import torch  # here, because `make repro` itself must not wait for it

    if torch.cuda.is_available():
        return torch.device("cuda")
    _tell_unusable()
    return torch.device("cpu")


@cache
def _tell_unusable() -> None:
    """Say once that the CPU takes the place of a GPU, which may be days of work."""
    if listed := len(names()):
        print(unusable(listed, 0), file=sys.stderr)
