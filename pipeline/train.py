"""Stage train: one variant with one seed, to its last iteration.

    python -m pipeline.train VARIANT SEED
    torchrun --nproc-per-node 8 -m pipeline.train VARIANT SEED

Writes the final weights under weights/, the learning curve and where they come from under runs/.
State is saved while it runs in .resume/<fingerprint>; a run that was killed goes
on there, and ends with the same weights, bit for bit, as one that was not.
"""

import csv
import json
import math
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from ann import Ohem, segmentation_loss
from pipeline.common import checkpoint, cli, params, provenance, tracking
from pipeline.common.files import code_digest, digest, read_json, whole_file, write_json
from pipeline.common.paths import RunPaths
from pipeline.common.progress import Reporter
from pipeline.inputs.loader import Numbered, batches
from pipeline.inputs.store import Store
from pipeline.inputs.weights import load_backbone
from pipeline.prepare import MANIFEST, folder

CODE = [Path("ann"), Path("pipeline/inputs"), Path("pipeline/train.py")]  # what shapes a run
SAVE_SECONDS = float(os.environ.get("ANN_SAVE_SECONDS", "20"))
FLUSH_ITERATIONS = 20  # how often losses come from the device and progress is shown
TRACK_SECONDS = 60.0


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
        """The resolved settings, all variants' in one form."""
        train = {**self.train.model_dump(mode="json"), "precision": self.precision}
        return {"network": self.network, "train": train, "seed": self.seed}

    @property
    def fingerprint(self) -> str:
        shaped_by = [
            self.config,
            self.manifest["digest"],
            code_digest(CODE),
            self.device,
            self.world_size,
            torch.__version__,
        ]
        return digest(shaped_by)[:16]


def poly_lr(base: float, iteration: int, total: int, power: float, warmup: int = 0) -> float:
    """base (1 - iteration / total) ^ power, after a linear warm-up."""
    rise = min(1.0, (iteration + 1) / warmup) if warmup else 1.0
    return base * rise * (1 - iteration / total) ** power


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


def class_weights(loss: params.Loss, manifest: dict[str, Any]) -> Tensor | None:
    """The weights as listed, or by the training split's histogram."""
    if loss.class_weights is None:
        return None
    if isinstance(loss.class_weights, list):
        if len(loss.class_weights) != len(manifest["classes"]):
            raise cli.InputError(
                f"loss.class_weights has {len(loss.class_weights)} values; allowed is one for "
                f"each of the {len(manifest['classes'])} classes"
            )
        return torch.tensor(loss.class_weights)
    pixels = torch.tensor(list(manifest["splits"]["train"]["pixels"].values()), dtype=torch.float64)
    return ((1 / (pixels / pixels.sum() + 1e-3)) ** loss.class_weights.power).float()


def make_optimizer(model: nn.Module, settings: params.Optimizer) -> Optimizer:
    if settings.name == "sgd":
        return torch.optim.SGD(
            model.parameters(),
            settings.lr,
            momentum=settings.momentum or 0.0,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(
        model.parameters(), settings.lr, weight_decay=settings.weight_decay, fused=True
    )


class Training:
    """A run's model, optimizer and losses so far, and their way to the disk and back."""

    def __init__(self, run: Run, fabric: Fabric, paths: RunPaths) -> None:
        self.run, self.fabric, self.paths = run, fabric, paths
        torch.manual_seed(run.seed)
        network = checkpoint.build(run.network, len(run.classes))
        if run.network["weights"]:
            load_backbone(network.backbone, run.network["backbone"], run.network["weights"])
        model: nn.Module = network.to(memory_format=torch.channels_last)
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.bare = model
        self.model, self.optimizer = fabric.setup(model, make_optimizer(model, run.train.optimizer))
        self.losses = torch.zeros(run.train.iterations, device=fabric.device)
        self.weights = class_weights(run.train.loss, run.manifest)
        if self.weights is not None:
            self.weights = self.weights.to(fabric.device)
        self.start = self._resume()

    @property
    def _state(self) -> Path:
        return Path(".resume") / self.run.fingerprint / "state.safetensors"

    def _resume(self) -> int:
        if not self._state.exists():
            return 0
        tensors, about = checkpoint.load(self._state)
        self.losses.copy_(tensors.pop("losses"))
        checkpoint.restore(tensors, self.bare, self.optimizer)
        return int(about["iteration"])

    def save(self, iteration: int) -> None:
        if self.fabric.is_global_zero:
            tensors = checkpoint.training_state(self.bare, self.optimizer)
            checkpoint.save(self._state, tensors | {"losses": self.losses}, iteration=iteration)

    def step(self, iteration: int, images: Tensor, labels: Tensor, keys: Tensor) -> None:
        settings = self.run.train
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr(iteration)
        logits, aux_logits = self.model(images, keys)
        loss, _ = segmentation_loss(
            logits,
            aux_logits,
            labels,
            aux_weight=settings.loss.aux_weight,
            class_weights=self.weights,
            ohem=Ohem(**settings.loss.ohem.model_dump()) if settings.loss.ohem else None,
            at_labels=settings.loss.at_labels,
        )
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.optimizer.step()
        self.losses[iteration] = loss.detach()

    def lr(self, iteration: int) -> float:
        s = self.run.train
        return poly_lr(s.optimizer.lr, iteration, s.iterations, s.power, s.warmup)

    def curve(self, done: int) -> list[dict[str, float]]:
        """A row an iteration: iteration, lr, loss."""
        losses = self.losses[:done].tolist()
        return [
            {"iteration": i + 1, "lr": self.lr(i), "loss": loss} for i, loss in enumerate(losses)
        ]

    def finish(self, record: dict[str, Any]) -> None:
        """Write what the stage is for, then drop the state."""
        if not self.fabric.is_global_zero:
            return
        with whole_file(self.paths.curve) as partial, partial.open("w", newline="") as file:
            table = csv.DictWriter(file, ["iteration", "lr", "loss"], lineterminator="\n")
            table.writeheader()
            table.writerows(self.curve(self.run.train.iterations))
        checkpoint.save(
            self.paths.weights,
            self.bare.state_dict(),
            network=self.run.network,
            classes=self.run.classes,
            dataset=self.run.manifest["dataset"],
        )
        write_json(self.paths.record, record)
        shutil.rmtree(self._state.parent, ignore_errors=True)


def fit(training: Training, store: Store, record: dict[str, Any]) -> float:
    """Train to the end; returns the seconds that this process spent on it."""
    run, fabric = training.run, training.fabric
    total = run.train.iterations
    workers = 0 if fabric.device.type == "cpu" else min(8, (os.cpu_count() or 1) - 1)
    source = batches(
        Numbered(store, run.train.augment, run.seed),
        batch_size=run.train.batch_size,
        start=training.start,
        stop=total,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        workers=workers,
    )
    training.model.train()
    began = saved = tracked = time.monotonic()
    with Reporter(f"train {run.variant}-{run.seed}", total, training.start) as reporter:
        for iteration, batch in enumerate(source, training.start):
            training.step(iteration, *(t.to(fabric.device, non_blocking=True) for t in batch))
            done, now = iteration + 1, time.monotonic()
            if done % FLUSH_ITERATIONS == 0 or done == total:
                loss = float(training.losses[iteration])
                if not math.isfinite(loss):
                    raise cli.InputError(
                        f"{run.variant}-{run.seed}: the loss is {loss} at iteration {done}, "
                        f"learning rate {training.lr(iteration):.3g}; the last saved state is kept"
                    )
                rate = (done - training.start) / (now - began)
                reporter.update(done, f"loss {loss:.3f}, {rate:.1f} it/s")
            if now - saved > SAVE_SECONDS and done < total:
                training.save(done)
                saved = time.monotonic()
            if now - tracked > TRACK_SECONDS and fabric.is_global_zero:
                tracking.attempt(record, training.curve(done))
                tracked = time.monotonic()
    return time.monotonic() - began


def check_maps(run: Run, data: Path) -> None:
    """Refuse pool sizes beyond the feature map of the smallest image to be scored."""
    sizes, stride = run.network.get("pool_sizes") or [1], run.network["output_stride"]
    side = min(min(size) for size in Store(data, "val").sizes)
    if max(sizes) > -(-side // stride):
        raise cli.InputError(
            f"variants.{run.variant}.pool_sizes is {sizes}; allowed are sizes up to "
            f"{-(-side // stride)}, for a validation image has a side of {side} pixels"
        )


def make_fabric(settings: params.Train) -> tuple[Fabric, str]:
    """One process, or those that torchrun or SLURM started; and the precision."""
    processes, nodes = (
        int(os.environ.get(n, "1")) for n in ("LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE")
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = resolve_precision(settings.precision, device)
    fabric = Fabric(
        accelerator=device.type,
        devices=processes,
        num_nodes=nodes,
        precision="bf16-mixed" if precision == "bfloat16" else "32-true",
    )
    fabric.launch()
    return fabric, precision


def main() -> None:
    settings = params.load()
    if len(sys.argv) != 3:
        raise cli.InputError("usage: python -m pipeline.train VARIANT SEED")
    variant, seed = params.variant_and_seed(settings, *sys.argv[1:])
    train = settings.active.train
    data = folder(settings.profile)
    if not (data / MANIFEST).exists():
        raise cli.InputError(f"{data / MANIFEST} is missing; run `dvc repro prepare` first")
    torch.set_num_threads(train.threads)
    fabric, precision = make_fabric(train)
    if train.batch_size % fabric.world_size:
        raise cli.InputError(
            f"train.batch_size is {train.batch_size}; allowed are multiples of the "
            f"{fabric.world_size} processes"
        )
    run = Run(
        profile=settings.profile,
        variant=variant,
        seed=seed,
        network=settings.network(variant),
        train=train,
        manifest=read_json(data / MANIFEST),
        precision=precision,
        device=fabric.device.type,
        world_size=fabric.world_size,
    )
    check_maps(run, data)
    paths = RunPaths(settings.profile, variant, seed)
    training = Training(run, fabric, paths)
    record = describe(run)
    if training.start:
        fabric.print(f"{variant}-{seed}: goes on at iteration {training.start}")
    seconds = fit(training, Store(data, "train"), record)
    iterations = train.iterations - training.start
    record["speed"] = {"seconds": round(seconds, 2), "iterations": iterations}
    training.finish(record)


def describe(run: Run) -> dict[str, Any]:
    """Where the run's numbers come from."""
    name = torch.cuda.get_device_name() if run.device == "cuda" else "cpu"
    return {
        "profile": run.profile,
        "variant": run.variant,
        "seed": run.seed,
        "fingerprint": run.fingerprint,
        "dataset": {"name": run.manifest["dataset"], "digest": run.manifest["digest"]},
        "config": json.loads(json.dumps(run.config)),
        "code": provenance.code_version(),
        "environment": {**provenance.environment(name), "processes": run.world_size},
    }


if __name__ == "__main__":
    cli.run(main)
