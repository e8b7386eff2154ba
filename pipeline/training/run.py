"""Everything that shapes a run, and the fingerprint that names it."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.common import params, provenance
from pipeline.common.contexts import code_of
from pipeline.common.files import code_digest, digest

# All code that shapes a training's numbers; stage train of dvc.yaml depends on the same.
CODE = [
    Path("ann"),
    Path("pipeline/common/checkpoint.py"),
    Path("pipeline/common/foreign.py"),
    Path("pipeline/common/processes.py"),
    Path("pipeline/datasets"),
    Path("pipeline/inputs"),
    Path("pipeline/train.py"),
    Path("pipeline/training"),
]


@dataclass(frozen=True)
class Run:
    """Everything that shapes a run; `fingerprint` names it."""

    profile: str
    variant: str
    seed: int
    network: dict[str, Any]
    train: params.Train
    manifest: dict[str, Any]
    precision: str
    device: str
    world_size: int

    @property
    def classes(self) -> list[str]:
        return list(self.manifest["classes"])

    @property
    def config(self) -> dict[str, Any]:
        """The resolved settings."""
        train = {**self.train.model_dump(mode="json"), "precision": self.precision}
        return {"network": self.network, "train": train, "seed": self.seed}

    @property
    def code(self) -> str:
        """A digest of the code that trains it."""
        return code_digest([*CODE, *code_of(self.network["context"])])

    @property
    def fingerprint(self) -> str:
        shaped_by = [
            self.config,
            self.manifest["digest"],
            provenance.weights_digest(self.network["weights"]),
            self.code,
            self.device,
            self.world_size,
            torch.__version__,
        ]
        return digest(shaped_by)[:16]


def resolve_precision(wanted: str, device: torch.device) -> str:
    """ "auto" is bfloat16 where the hardware is fast at it, float32 elsewhere."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        cpu = torch.cpu
        fast = device.type == "cpu" and (
            cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported()
        )
    return "bfloat16" if fast else "float32"


def describe(run: Run) -> dict[str, Any]:
    """Where the run's numbers come from."""
    name = torch.cuda.get_device_name() if run.device == "cuda" else "cpu"
    return {
        "profile": run.profile,
        "variant": run.variant,
        "seed": run.seed,
        "fingerprint": run.fingerprint,
        "started": int(time.time()),
        "dataset": {
            "name": run.manifest["dataset"],
            "title": run.manifest["title"],
            "digest": run.manifest["digest"],
        },
        "backbone_sha256": provenance.weights_digest(run.network["weights"]),
        "config": json.loads(json.dumps(run.config)),
        "code": {**provenance.code_version(), "digest": run.code},
        "environment": {**provenance.environment(name), "processes": run.world_size},
    }
