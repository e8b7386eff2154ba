"""Stage train: one variant with one seed, to its last iteration.

    python -m pipeline.train VARIANT SEED
    torchrun --nproc-per-node 8 -m pipeline.train VARIANT SEED

Writes the final weights under weights/, the learning curve and where they come from under runs/.
State is saved while it runs in .resume/<fingerprint>; a run that was killed goes
on there, and ends with the same weights, bit for bit, as one that was not.
"""

import csv
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from pipeline.common import checkpoint, cli, memory, params, tracking
from pipeline.common.files import file_digest, read_json, whole_file, write_json
from pipeline.common.paths import RunPaths
from pipeline.common.progress import Reporter
from pipeline.inputs.loader import Numbered, batches
from pipeline.inputs.store import Store
from pipeline.prepare import MANIFEST, folder
from pipeline.training.recipe import class_weights, make_optimizer, poly_lr, training_loss
from pipeline.training.run import Run, check_maps, describe, resolve_precision
from pipeline.training.weights import load_backbone

SAVE_SECONDS = float(os.environ.get("ANN_SAVE_SECONDS", "20"))
FLUSH_ITERATIONS = 20  # how often losses come from the device and progress is shown
TRACK_SECONDS = 60.0


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
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr(iteration)
        logits, aux_logits = self.model(images, keys)
        loss = training_loss(
            self.run.train.loss,
            logits,
            aux_logits,
            labels,
            class_weights=self.weights,
            align_corners=self.run.network["align_corners"],
        )
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.optimizer.step()
        mean = self.fabric.all_reduce(loss.detach(), reduce_op="mean")
        self.losses[iteration] = mean  # type: ignore[assignment]

    def lr(self, iteration: int) -> float:
        s = self.run.train
        return poly_lr(s.optimizer.lr, iteration, s.iterations, s.power, s.warmup)

    def checked_loss(self, done: int) -> float:
        """The latest loss; an InputError if one so far is not finite."""
        bad = (~torch.isfinite(self.losses[:done])).nonzero()
        if len(bad):
            first = int(bad[0])
            raise cli.InputError(
                f"{self.run.variant}-{self.run.seed}: the loss is {float(self.losses[first])} at "
                f"iteration {first + 1}, learning rate {self.lr(first):.3g}; the last saved state "
                f"is kept; lower train.optimizer.lr or lengthen train.warmup"
            )
        return float(self.losses[done - 1])

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
        write_json(self.paths.record, record | {"weights_sha256": file_digest(self.paths.weights)})
        shutil.rmtree(self._state.parent, ignore_errors=True)


def fit(training: Training, store: Store, record: dict[str, Any]) -> dict[str, Any]:
    """Train to the end; returns what it took: seconds, iterations, and the bytes of a step."""
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
    needed = 0
    title, shown = f"train {run.variant}-{run.seed}", fabric.is_global_zero
    with Reporter(title, total, training.start, shown) as reporter:
        for iteration, batch in enumerate(source, training.start):
            second = iteration == training.start + 1  # the first one also sets the libraries up
            before = memory.start_peak(run.device) if second else 0
            training.step(iteration, *(t.to(fabric.device, non_blocking=True) for t in batch))
            if second:
                needed = max(0, memory.peak(run.device) - before)
            done, now = iteration + 1, time.monotonic()
            save = now - saved > SAVE_SECONDS and done < total
            if save or done % FLUSH_ITERATIONS == 0 or done == total:
                rate = (done - training.start) / (now - began)
                reporter.update(done, f"loss {training.checked_loss(done):.3f}, {rate:.1f} it/s")
            if save:
                training.save(done)
                saved = time.monotonic()
            if now - tracked > TRACK_SECONDS and fabric.is_global_zero:
                tracking.attempt(record, training.curve(done))
                tracked = time.monotonic()
    return {
        "seconds": round(time.monotonic() - began, 2),
        "iterations": total - training.start,
        "peak_bytes": needed,
        "memory_by": memory.counted_by(run.device),
    }


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
    settings, variant, seed = params.load_run("train", sys.argv[1:])
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
    check_maps(f"variants.{variant}", run.network, data)
    paths = RunPaths(settings.profile, variant, seed)
    training = Training(run, fabric, paths)
    record = describe(run)
    if training.start:
        fabric.print(f"{variant}-{seed}: goes on at iteration {training.start}")
    record["speed"] = fit(training, Store(data, "train"), record)
    training.finish(record)


if __name__ == "__main__":
    cli.run(main)
