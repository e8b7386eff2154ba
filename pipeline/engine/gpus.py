"""Find the GPUs that NVIDIA's driver lists, and the device that PyTorch uses."""

import os
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def list_names() -> list[str]:
    """Return the name of each visible GPU, as CUDA_VISIBLE_DEVICES may contain it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(number) for number in range(_count_gpus())]
    gpus = []
    for name in visible.split(","):
        if name.strip() in ("", "-1"):
            break  # CUDA ignores all names after this one
        gpus.append(name.strip())
    return gpus


def _count_gpus() -> int:
    try:
        process = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, encoding="utf-8", errors="replace"
        )
    except OSError:
        return 0
    lines = process.stdout.splitlines() if process.returncode == 0 else []
    return sum(line.startswith("GPU ") for line in lines)  # a model's name may contain GPU too


def describe_unusable(listed: int, usable: int) -> str:
    """Return a warning that PyTorch uses fewer GPUs than the driver lists."""
    instead = "takes the CPU" if usable == 0 else f"takes {usable}"
    return (
        f"the machine has {listed} GPU{'s' * (listed > 1)}, but PyTorch can use {usable} and "
        f"{instead}; its driver may be too old, as `nvidia-smi` and "
        f'`python -c "import torch; torch.cuda.init()"` tell'
    )


def choose_device() -> "torch.device":
    """Return the device of a run: a GPU if PyTorch can use one, otherwise the CPU."""
    import torch  # here, because `make repro` itself must not wait for this import

    if torch.cuda.is_available():
        return torch.device("cuda")
    _warn_unusable()
    return torch.device("cpu")


@cache
def _warn_unusable() -> None:
    """Warn once that a run uses the CPU although there is a GPU; it may then take days."""
    if listed := len(list_names()):
        print(describe_unusable(listed, 0), file=sys.stderr)
