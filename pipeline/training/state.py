"""A run's model, optimizer and losses so far: one step, and their way to the disk and back."""

import csv
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ann.loss import at_centres, pixel_weights
from ann.sync_norm import synchronised
from pipeline.common import checkpoint
from pipeline.common.cli import InputError, RunFailed
from pipeline.common.files import file_digest, whole_file, write_json
from pipeline.common.paths import RunPaths
from pipeline.inputs.loader import Batch, sample_indices
from pipeline.inputs.store import Store
from pipeline.training.recipe import (
    class_weights,
    combined,
    make_optimizer,
    poly_lr,
    training_sums,
)
from pipeline.training.run import Run
from pipeline.training.weights import load_backbone

NAMES = 10  # of a batch's samples, in a message


class Training:
    """See the module; all processes of a run have one each, with the same values."""

    def __init__(self, run: Run, fabric: Fabric, paths: RunPaths, store: Store) -> None:
        self.run, self.fabric, self.paths, self.store = run, fabric, paths, store
        self._make()
        self.weights = class_weights(run.train.loss, run.manifest)
        if self.weights is not None:
            self.weights = self.weights.to(fabric.device)
        self.start = self._resume()
        if fabric.broadcast(self.start) != self.start:
            raise InputError(
                f"{self._state} is not the same for all processes; it must lie on a disk that all "
                f"machines share"
            )

    def _make(self) -> None:
        run, fabric = self.run, self.fabric
        torch.manual_seed(run.seed)
        network = checkpoint.build(run.network, len(run.classes))
        if run.network["weights"]:
            for note in load_backbone(
                network.backbone, run.network["backbone"], run.network["weights"]
            ):
                fabric.print(note)
        model: nn.Module = network.to(memory_format=torch.channels_last)
        if fabric.world_size > 1:
            model = synchronised(model, fabric.device.type)
        self.bare = model
        self.model, self.optimizer = fabric.setup(model, make_optimizer(model, run.train.optimizer))
        self.losses = torch.zeros(run.train.iterations, device=fabric.device)

    @property
    def _state(self) -> Path:
        return Path(".resume") / self.run.fingerprint / "state.safetensors"

    def _resume(self) -> int:
        if not self._state.exists():
            return 0
        try:
            tensors, about = checkpoint.load(self._state)
            self.losses.copy_(tensors.pop("losses"))
            checkpoint.restore(tensors, self.bare, self.optimizer)
            return int(about["iteration"])
        except (InputError, KeyError, RuntimeError, ValueError):  # as after a loss of power
            self.fabric.print(f"{self._state} is damaged; {self.paths.name} starts anew")
            self._make()  # part of the state may be in it
            return 0

    def save(self, iteration: int) -> None:
        """Save what the next start goes on from; a RunFailed if it is not worth that."""
        if self.fabric.is_global_zero:
            tensors = checkpoint.training_state(self.bare, self.optimizer)
            self._require_finite(tensors, iteration)
            checkpoint.save(self._state, tensors | {"losses": self.losses}, iteration=iteration)

    def step(self, iteration: int, batch: Batch) -> None:
        """One iteration: this process' share of the batch, at most `micro_batch` samples at once.

        The loss is the mean over all pixels of the batch, in however many parts it is taken and
        by however many processes. With OHEM it is over the pixels that each part keeps.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr(iteration)
        self.optimizer.zero_grad()
        total = self._gradients(batch)
        self.optimizer.step()
        self.losses[iteration] = self._mean(total)

    def _gradients(self, batch: Batch) -> Tensor:
        """Add up the gradients of this process' parts; returns their part of the loss."""
        size = self.run.train.micro_batch or len(batch.keys)
        parts = [Batch(*tensors) for tensors in zip(*(t.split(size) for t in batch), strict=True)]
        total = torch.zeros((), device=self.fabric.device)
        over: list[Tensor] = []  # the weight of all pixels of the batch, once it is known
        for i, part in enumerate(parts):
            waits = i < len(parts) - 1  # with the sum of the gradients over the processes
            with self.fabric.no_backward_sync(self.model, enabled=waits):
                loss = self._loss(part, batch.labels, len(parts), over)
                self.fabric.backward(loss)
            total += loss.detach()
        return total

    def _loss(self, part: Batch, labels: Tensor, parts: int, over: list[Tensor]) -> Tensor:
        """What this part adds to the loss of the batch, whose labels in this process are given."""
        settings = self.run.train.loss
        logits, aux_logits = self.model(part.images, part.keys)
        sums = training_sums(
            settings,
            logits,
            aux_logits,
            part.labels,
            class_weights=self.weights,
            align_corners=self.run.network["align_corners"],
        )
        if not over:
            if not settings.at_labels:
                labels = at_centres(labels, logits.shape[2:])
            own = sums.valid if parts == 1 else pixel_weights(labels, self.weights).sum()
            over.append(self._mean(own))
        kept = self._mean(sums.kept) * parts if settings.ohem else over[0]
        return combined(settings, sums, kept, over[0])

    def _mean(self, value: Tensor) -> Tensor:
        """The mean over the processes, whose gradients are averaged likewise."""
        found = self.fabric.all_reduce(value.detach(), reduce_op="mean")
        assert isinstance(found, Tensor)
        return found

    def lr(self, iteration: int) -> float:
        s = self.run.train
        return poly_lr(s.optimizer.lr, iteration, s.iterations, s.power, s.warmup)

    def checked_loss(self, done: int) -> float:
        """The latest loss; a RunFailed if one so far is not finite."""
        bad = (~torch.isfinite(self.losses[:done])).nonzero()
        if len(bad):
            first = int(bad[0])
            raise self._diverged(f"the loss is {float(self.losses[first])}", first)
        return float(self.losses[done - 1])

    def _require_finite(self, tensors: dict[str, Tensor], done: int) -> None:
        """The weights may be beyond numbers before a loss is."""
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise self._diverged(f"{name} is no longer finite", done - 1)

    def _diverged(self, what: str, iteration: int) -> RunFailed:
        size, store = self.run.train.batch_size, self.store
        numbers = sample_indices(self.run.seed, iteration, size, len(store))
        names = ", ".join(store.names[i] for i in numbers[:NAMES])
        more = f" and {len(numbers) - NAMES} more" if len(numbers) > NAMES else ""
        return RunFailed(
            f"{self.paths.name}: {what} at iteration {iteration + 1}, learning rate "
            f"{self.lr(iteration):.3g}, with the images {names}{more}; the last good state is "
            f"kept; lower train.optimizer.lr or lengthen train.warmup",
            iteration + 1,
        )

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
        self._require_finite(self.bare.state_dict(), self.run.train.iterations)
        with (
            whole_file(self.paths.curve) as partial,
            partial.open("w", newline="", encoding="utf-8") as file,
        ):
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
