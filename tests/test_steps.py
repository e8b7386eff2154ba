"""One step of a training in closed form: parts of a batch, several processes, the learning rate."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ann.loss import IGNORE_INDEX
from pipeline.data.samples.loader import Batch, sample_indices
from pipeline.engine.errors import RunError
from pipeline.settings import params, schema
from pipeline.settings.paths import RunPaths
from pipeline.training import state
from pipeline.training.recipe import combine_sums, training_sums
from pipeline.training.run import Run
from pipeline.training.state import Training
from tests.conftest import ROOT
from tests.recorded import RECORD, START, manifest

SETTINGS = params.load(ROOT / "params.yaml")
CLASSES = ("a", "b", "c")
OHEM = {"threshold": 0.3, "min_kept": 30}


class Names:
    """Stands in for the data, of which a step needs the names only."""

    names = ("first", "second", "third", "fourth")

    def __len__(self) -> int:
        return len(self.names)


def make(monkeypatch: pytest.MonkeyPatch, folder: Path, **changes: Any) -> Training:
    """Return a run of a tiny baseline, with some settings of its training changed."""
    monkeypatch.chdir(folder)
    for name in ("ann", "pipeline"):  # a run's fingerprint is of them, too
        if not Path(name).exists():
            Path(name).symlink_to(ROOT / name)
    train = SETTINGS.active.train.model_dump()
    train |= {"iterations": 8, "warmup": 2, "batch_size": 4}
    train["optimizer"] = {"name": "sgd", "lr": 0.5, "momentum": 0.0, "weight_decay": 0.0}
    train["loss"] = {"aux_weight": 0.7, "class_weights": [1.0, 2.0, 4.0], "ohem": None}
    train["loss"]["class_weights"] = changes.pop("weights", [1.0, 2.0, 4.0])
    train["loss"]["at_labels"] = changes.pop("at_labels", True)
    train["loss"]["ohem"] = changes.pop("ohem", None)
    network = SETTINGS.resolve_network("baseline") | {"widths": [8, 8, 8, 8], "channels": 8}
    network |= changes.pop("network", {})
    run = Run(
        profile="embedded",
        variant="baseline",
        seed=0,
        network=network | {"aux_channels": 8},
        train=schema.Train.model_validate(train | changes),
        manifest=manifest(list(CLASSES), dataset="x"),
        precision="float32",
        device="cpu",
        world_size=1,
    )
    fabric = Fabric(accelerator="cpu", devices=1)
    made = Training(run, fabric, RunPaths("embedded", "baseline", 0), Names())  # type: ignore[arg-type]
    made.model.train()
    return made


def freeze_statistics(made: Training) -> None:
    """Let batch norm see the same in every part, so that parts can add up to the batch."""
    for module in made.module.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def batch() -> Batch:
    """Four samples, each with another number of pixels that count."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (4, 3, 32, 48), dtype=torch.uint8)
    labels = torch.randint(0, 3, (4, 32, 48))
    for i, sample in enumerate(labels):
        sample[: 7 * i] = IGNORE_INDEX
    return Batch(images, labels, torch.arange(4))


def parts(made: Training, whole: Batch, size: int) -> list[Any]:
    """Return the sums of the loss over parts of `size` samples each."""
    found = []
    for i in range(0, len(whole.sample_ids), size):
        images, labels, sample_ids = (t[i : i + size] for t in whole)
        logits, aux_logits = made.model(images, sample_ids)
        sums = training_sums(
            made.run.train.loss,
            logits,
            aux_logits,
            labels,
            class_weights=made.weights,
            align_corners=False,
        )
        found.append(sums)
    return found


def gradients(made: Training) -> list[Tensor]:
    return [p.grad.clone() for p in made.module.parameters() if p.grad is not None]


@pytest.mark.parametrize("at_labels", [True, False])
@pytest.mark.parametrize("micro_batch", [1, 2, 3, None])
def test_without_ohem_the_loss_is_over_the_pixels_of_the_batch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, micro_batch: int | None, at_labels: bool
) -> None:
    made = make(monkeypatch, tmp_path, micro_batch=micro_batch, at_labels=at_labels)
    freeze_statistics(made)
    (sums,) = parts(made, batch(), 4)
    expected = combine_sums(made.run.train.loss, sums, sums.kept_weight, sums.valid)
    made.fabric.backward(expected)
    whole = gradients(made)
    made.optimizer.zero_grad()
    torch.testing.assert_close(made._gradients(batch()), expected.detach())
    for ours, theirs in zip(gradients(made), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("micro_batch", [1, 2, None])
def test_ohems_mean_is_the_mean_over_the_parts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, micro_batch: int | None
) -> None:
    made = make(monkeypatch, tmp_path, micro_batch=micro_batch, ohem=OHEM)
    freeze_statistics(made)
    sums = parts(made, batch(), micro_batch or 4)
    assert all(s.kept_weight < s.valid for s in sums)
    final = torch.stack([s.final / s.kept_weight for s in sums]).mean()
    auxiliary = sum(s.aux for s in sums) / sum(s.valid for s in sums)
    expected = final + 0.7 * auxiliary
    made.fabric.backward(expected)
    whole = gradients(made)
    made.optimizer.zero_grad()
    torch.testing.assert_close(made._gradients(batch()), expected.detach())
    for ours, theirs in zip(gradients(made), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ohem", [None, OHEM], ids=["all", "hard"])
def test_the_loss_is_over_the_mean_of_the_pixels_of_all_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ohem: dict[str, Any] | None
) -> None:
    """The gradients are averaged, so each process divides its sums by the mean of the weights."""
    asked = []

    def total(fabric: Fabric, value: Tensor) -> Tensor:
        asked.append(value.shape)
        return value * 3  # as if the others had more pixels that count

    made = make(monkeypatch, tmp_path, ohem=ohem)
    freeze_statistics(made)
    alone = made._gradients(batch())
    own = gradients(made)
    made.optimizer.zero_grad()
    monkeypatch.setattr(state, "sum_over_processes", total)
    torch.testing.assert_close(made._gradients(batch()), alone / 3)
    for ours, theirs in zip(gradients(made), own, strict=True):
        torch.testing.assert_close(ours, theirs / 3)
    assert set(asked) == {()}


@pytest.mark.parametrize("micro_batch", [1, 2, None])
def test_batch_norm_sees_each_part_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, micro_batch: int | None
) -> None:
    made, whole, size = make(monkeypatch, tmp_path, micro_batch=micro_batch), batch(), 4
    first = made.module.backbone.stem[0]
    norm = made.module.backbone.stem[1]
    seen: list[Tensor] = []
    first.register_forward_hook(lambda *given: seen.append(given[-1].detach()))
    made._gradients(whole)
    assert [len(x) for x in seen] == [micro_batch or size] * (size // (micro_batch or size))
    mean = torch.zeros(8)
    for x in seen:
        mean = 0.9 * mean + 0.1 * x.mean(dim=(0, 2, 3))
    torch.testing.assert_close(norm.running_mean, mean)
    assert norm.num_batches_tracked == len(seen)


def test_a_step_goes_by_the_learning_rate_of_its_iteration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = make(monkeypatch, tmp_path, micro_batch=2)
    for iteration, lr in ((0, 0.25), (1, 0.5 * (7 / 8) ** 0.9), (5, 0.5 * (3 / 8) ** 0.9)):
        before = [p.detach().clone() for p in made.module.parameters()]
        made.optimizer.zero_grad()
        made._gradients(batch())
        slopes = gradients(made)  # of this step alone: those of an earlier one are dropped
        made.step(iteration, batch())
        for old, slope, new in zip(before, slopes, made.module.parameters(), strict=True):
            torch.testing.assert_close(new.detach(), old - lr * slope, rtol=1e-4, atol=1e-5)
        assert made.lr(iteration) == pytest.approx(lr)
        assert made.losses[iteration] > 0
    rows = made.curve(2)
    assert [(row["iteration"], row["lr"]) for row in rows] == [(1, made.lr(0)), (2, made.lr(1))]
    assert [row["loss"] for row in rows] == made.losses[:2].tolist()


def test_a_state_brings_back_the_step_and_the_losses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = make(monkeypatch, tmp_path)
    for i in range(2):
        made.step(i, batch())
    made.save(2)
    again = make(monkeypatch, tmp_path)
    assert (again.start, again.losses.tolist()) == (2, made.losses.tolist())
    for ours, theirs in zip(again.module.parameters(), made.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    other = make(monkeypatch, tmp_path, warmup=1)
    assert other.start == 0  # another run


def test_a_loss_that_is_not_finite_is_told_with_where_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = make(monkeypatch, tmp_path)
    made.losses[:] = torch.tensor([1.0, 2.0, torch.inf, torch.nan, 5, 6, 7, 8])
    assert made.read_finite_loss(2) == 2.0
    monkeypatch.setattr(state, "NAMES", 3)
    with pytest.raises(RunError) as told:
        made.read_finite_loss(4)
    assert told.value.iteration == 3
    assert "baseline-0: the loss is inf at iteration 3, learning rate 0.386" in str(told.value)
    names = [made.store.names[i] for i in sample_indices(0, 2, 4, 4)]
    assert f"images {', '.join(names[:3])} and 1 more; the last good state" in str(told.value)
    with torch.no_grad():
        next(made.module.parameters()).fill_(torch.nan)
    with pytest.raises(RunError, match="is no longer finite") as told:
        made.save(2)
    assert told.value.iteration == 2
    assert not made._state.exists()
    with pytest.raises(RunError, match="is no longer finite") as told:
        made.finish(START, RECORD.speed)
    assert told.value.iteration == 8
    assert not made.paths.record.exists()


def test_without_class_weights_every_pixel_counts_alike(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = make(monkeypatch, tmp_path, weights=None, micro_batch=2)
    freeze_statistics(made)
    (sums,) = parts(made, batch(), 4)
    assert sums.valid == (batch().labels != IGNORE_INDEX).sum()
    expected = combine_sums(made.run.train.loss, sums, sums.kept_weight, sums.valid)
    torch.testing.assert_close(made._gradients(batch()), expected.detach())
