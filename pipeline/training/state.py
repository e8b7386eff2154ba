"""Hold a run's model, optimizer and losses: take a step, save them and load them."""

import csv
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ann.loss import at_centres, pixel_weights
from ann.sync_norm import synchronise
from pipeline.data.prepared.store import Store
from pipeline.data.samples.loader import Batch, Cached, sample_indices
from pipeline.engine import checkpoint, networks
from pipeline.engine.errors import InputError, RunError
from pipeline.engine.files import digest_file, whole_file
from pipeline.engine.processes import sum_over_processes
from pipeline.engine.weights import load_backbone
from pipeline.settings import records
from pipeline.settings.paths import RESUME, RunPaths
from pipeline.settings.records import RunRecord, RunStart, Speed
from pipeline.training.recipe import (
    class_weights,
    combine_sums,
    make_optimizer,
    poly_lr,
    training_sums,
)
from pipeline.training.run import Run

NAMES = 10  # of a batch's samples, in a message


class Training:
    """A run's model, optimizer and losses so far; each process has one, with the same values.

    Attributes:
        cached: The maps of the backbone, where they are computed before.
        start: The iteration from which the run resumes.
        module: The network, without Fabric's wrapper.
        model: The network in Fabric's wrapper.
        losses: The loss of each iteration, on the device.
    """

    def __init__(
        self,
        run: Run,
        fabric: Fabric,
        paths: RunPaths,
        store: Store,
        cached: Cached | None = None,
    ) -> None:
        self.run, self.fabric, self.paths, self.store = run, fabric, paths, store
        self.cached = cached
        self._build()
        self.weights = class_weights(run.train.loss, run.manifest)
        if self.weights is not None:
            self.weights = self.weights.to(fabric.device)
        self.start = self._resume()
        if fabric.broadcast(self.start) != self.start:
            raise InputError(
                f"{self._state} is not the same for all processes; it must lie on a disk that all "
                f"machines share"
            )

    def _build(self) -> None:
        """Build the model and the optimizer as at the first iteration."""
        run, fabric = self.run, self.fabric
        torch.manual_seed(run.seed)
        network = networks.build(run.network, len(run.classes))
        if run.network["weights"]:
            for note in load_backbone(
                network.backbone, run.network["backbone"], run.network["weights"]
            ):
                fabric.print(note)
        model: nn.Module = network.to(memory_format=torch.channels_last)
        if fabric.world_size > 1:
            model = synchronise(model)
        self.module = model
        optimizer = make_optimizer(model, run.train.optimizer)
        computed: Any = torch.compile(model) if run.train.compile else model
        self.model, self.optimizer = fabric.setup(computed, optimizer)
        self.losses = torch.zeros(run.train.iterations, device=fabric.device)

    @property
    def _state(self) -> Path:
        return RESUME / self.run.fingerprint / "state.safetensors"

    def _resume(self) -> int:
        """Load the saved state if there is one; return the iteration to resume from."""
        if not self._state.exists():
            return 0
        try:
            tensors, about = checkpoint.load(self._state)
            self.losses.copy_(tensors.pop("losses"))
            checkpoint.restore_state(tensors, self.module, self.optimizer)
            return int(about["iteration"])
        except (InputError, KeyError, RuntimeError, ValueError):  # as a loss of power leaves it
            self.fabric.print(
                f"{self._state} is damaged; {self.paths.name} starts again from the beginning"
            )
            self._build()  # because part of the state may be loaded
            return 0

    def save(self, iteration: int) -> None:
        """Save the state from which the next start resumes.

        Raises:
            RunError: The state is no longer finite; the last good one stays.
        """
        if self.fabric.is_global_zero:
            tensors = checkpoint.flatten_state(self.module, self.optimizer)
            self._require_finite(tensors, iteration)
            checkpoint.save(self._state, tensors | {"losses": self.losses}, iteration=iteration)

    def step(self, iteration: int, batch: Batch) -> None:
        """Do one iteration: this process' share of the batch, in parts of `micro_batch` samples.

        The loss is the mean over all pixels of the batch, whatever the number of parts and of
        processes. With OHEM it is over the pixels that each part keeps.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr(iteration) * group["factor"]
        self.optimizer.zero_grad()
        total = self._gradients(batch)
        self.optimizer.step()
        self.losses[iteration] = self._mean(total)

    def _gradients(self, batch: Batch) -> Tensor:
        """Add up the gradients of this process' parts; return their part of the loss."""
        size = self.run.train.micro_batch or len(batch.sample_ids)
        parts = batch.split(size)
        total = torch.zeros((), device=self.fabric.device)
        pixel_weight: list[Tensor] = []  # of the whole batch; the first part adds it
        for i, part in enumerate(parts):
            is_not_last = i < len(parts) - 1  # only the last part sums gradients over the processes
            with self.fabric.no_backward_sync(self.model, enabled=is_not_last):
                loss = self._loss(part, batch.labels, len(parts), pixel_weight)
                self.fabric.backward(loss)
            total += loss.detach()
        return total

    def _loss(self, part: Batch, labels: Tensor, parts: int, pixel_weight: list[Tensor]) -> Tensor:
        """Return what a part adds to the loss of the batch.

        Args:
            part: The part.
            labels: All labels of this process.
            parts: The number of parts.
            pixel_weight: The weight of all pixels of the batch; added if the list is empty.
        """
        options = self.run.train.loss
        logits, aux_logits = self.model(part.images, part.sample_ids)
        sums = training_sums(
            options,
            logits,
            aux_logits,
            part.labels,
            class_weights=self.weights,
            align_corners=self.run.network["align_corners"],
        )
        if not pixel_weight:
            if not options.at_labels:
                labels = at_centres(labels, logits.shape[2:])
            own = sums.valid if parts == 1 else pixel_weights(labels, self.weights).sum()
            pixel_weight.append(self._mean(own))
        final_weight = self._mean(sums.kept_weight) * parts if options.ohem else pixel_weight[0]
        return combine_sums(options, sums, final_weight, pixel_weight[0])

    def _mean(self, value: Tensor) -> Tensor:
        """Return the mean over the processes, over which gradients are averaged too."""
        total = sum_over_processes(self.fabric, value.detach())
        return total if self.fabric.world_size == 1 else total / self.fabric.world_size

    def lr(self, iteration: int) -> float:
        """Return the learning rate of an iteration."""
        s = self.run.train
        return poly_lr(s.optimizer.lr, iteration, s.iterations, s.power, s.warmup)

    def read_finite_loss(self, count: int) -> float:
        """Return the loss of the last of the first `count` iterations.

        Raises:
            RunError: A loss so far is not finite.
        """
        losses = self.losses[:count].cpu()
        bad = (~torch.isfinite(losses)).nonzero()
        if len(bad):
            first = int(bad[0])
            raise self._describe_divergence(f"the loss is {float(losses[first])}", first)
        return float(losses[count - 1])

    def _require_finite(self, tensors: dict[str, Tensor], count: int) -> None:
        """Refuse tensors that are not finite, as weights may be before a loss is."""
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise self._describe_divergence(f"{name} is no longer finite", count - 1)

    def _describe_divergence(self, what: str, iteration: int) -> RunError:
        """Return the error of an iteration whose values are not finite, with its images."""
        size, store = self.run.train.batch_size, self.store
        numbers = sample_indices(self.run.seed, iteration, size, len(store))
        names = ", ".join(store.names[i] for i in numbers[:NAMES])
        more = f" and {len(numbers) - NAMES} more" if len(numbers) > NAMES else ""
        return RunError(
            f"{self.paths.name}: {what} at iteration {iteration + 1}, learning rate "
            f"{self.lr(iteration):.3g}, with the images {names}{more}; the last good state is "
            f"kept; lower train.optimizer.lr or lengthen train.warmup",
            iteration + 1,
        )

    def curve(self, count: int) -> list[dict[str, float]]:
        """Return a row for each iteration: iteration, lr, loss."""
        losses = self.losses[:count].tolist()
        return [
            {"iteration": i + 1, "lr": self.lr(i), "loss": loss} for i, loss in enumerate(losses)
        ]

    def finish(self, record: RunStart, speed: Speed) -> None:
        """Write the stage's outputs, then delete the saved state."""
        if not self.fabric.is_global_zero:
            return
        self._require_finite(checkpoint.own_state(self.module), self.run.train.iterations)
        with (
            whole_file(self.paths.curve) as partial,
            partial.open("w", newline="", encoding="utf-8") as file,
        ):
            table = csv.DictWriter(file, ["iteration", "lr", "loss"], lineterminator="\n")
            table.writeheader()
            table.writerows(self.curve(self.run.train.iterations))
        checkpoint.save(
            self.paths.weights,
            checkpoint.own_state(self.module),
            network=self.run.network,
            backbone_sha256=self.run.backbone_sha256,
            classes=self.run.classes,
            dataset=self.run.manifest.dataset,
        )
        digest = digest_file(self.paths.weights)
        record_of_run = RunRecord(**dict(record), speed=speed, weights_sha256=digest)
        records.write(self.paths.record, record_of_run)
        shutil.rmtree(self._state.parent, ignore_errors=True)
