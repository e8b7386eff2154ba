"""Each check of tests/contract fails for a block, a sampler or a dataset that breaks it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ann import Sampler
from pipeline.data.formats import DATASETS, Dataset
from pipeline.data.formats.base import BACKGROUND
from tests.contract import blocks, datasets, samplers
from tests.trees import TREES


class Broken(nn.Module):
    """A block that is right unless a function changes what it computes."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.unused, self.change = nn.Conv2d(8, 8, 1), None, change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.conv(x))


class Unused(Broken):
    """A block with a parameter that does nothing."""

    def __init__(self) -> None:
        super().__init__(lambda y: y)
        self.spare = nn.Parameter(torch.ones(1))


class Forgetful(Broken):
    """A block that keeps a number outside of its state."""

    def __init__(self) -> None:
        super().__init__(lambda y: y * self.number)
        self.number = torch.randn(())


BLOCKS = {
    blocks.check_shape_and_dtype: (
        partial(Broken, lambda y: y[:, :, 1:]),
        partial(Broken, lambda y: y.float()),
    ),
    blocks.check_gradients: (Unused, partial(Broken, lambda y: y.detach().requires_grad_())),
    blocks.check_batch_split: (partial(Broken, lambda y: y - y.mean()),),
    blocks.check_randomness: (partial(Broken, F.dropout),),
    blocks.check_sizes: (partial(Broken, lambda y: F.avg_pool2d(y, 2)),),
    blocks.check_state: (Forgetful,),
}


@pytest.mark.parametrize(
    ("check", "make"), [(c, make) for c, makes in BLOCKS.items() for make in makes]
)
def test_a_broken_block(check: Callable[[blocks.Make], None], make: blocks.Make) -> None:
    with pytest.raises(AssertionError):
        check(make)
    if check is not blocks.check_batch_split:  # the right one is its own proof
        check(partial(Broken, lambda y: y))


def test_every_check_of_a_block_is_seen_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(BLOCKS) == set(blocks.CHECKS)
    monkeypatch.setattr(blocks, "make_context", lambda *_: Broken(lambda y: y))
    with pytest.raises(AssertionError, match="it takes the settings"):
        blocks.check_settings("ppm")


def change_sampler(change: Callable[[list[Tensor]], list[Tensor]], name: str = "average") -> Any:
    """Return a maker of samplers whose anchors are changed."""

    class Changed(Sampler):
        def forward(self, maps: Any, sample_ids: Tensor | None = None) -> list[Tensor]:
            return change(super().forward(maps, sample_ids))

    return lambda: Changed(name, [3])


def set_property(**values: Any) -> Any:
    """Return a maker of samplers with other properties."""
    return lambda: type("Changed", (Sampler,), values)("average", [3])


def drop_boxes(self: Sampler, height: int, width: int) -> Tensor:
    return Sampler.boxes(self, height, width)[1:]


SAMPLERS = {
    samplers.check_count: change_sampler(lambda found: [a[:, :, 1:] for a in found]),
    samplers.check_constant: change_sampler(lambda found: [2 * a for a in found]),
    samplers.check_same_places: change_sampler(
        lambda found: [a.roll(i, 2) for i, a in enumerate(found)]
    ),
    samplers.check_linear: set_property(linear=False),
    samplers.check_ids: change_sampler(lambda found: [a + torch.rand(()) for a in found]),
    samplers.check_gradients: change_sampler(lambda found: [a.detach() for a in found]),
    samplers.check_boxes: set_property(boxes=drop_boxes),
}


@pytest.mark.parametrize("check", SAMPLERS)
def test_a_broken_sampler(check: Callable[[Any], None]) -> None:
    with pytest.raises((AssertionError, RuntimeError)):
        check(SAMPLERS[check])


def test_every_check_of_a_sampler_is_seen_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(samplers.CHECKS) == {*SAMPLERS, samplers.check_refusals}
    monkeypatch.setattr(samplers, "Sampler", lambda *_: None)
    with pytest.raises(AssertionError, match="it takes the pool sizes"):
        samplers.check_refusals(lambda: Sampler("average", [3]))


def spoil_order(dataset: Dataset) -> Dataset:
    calls = iter(range(10**6))
    return replace(
        dataset, pairs=lambda root, split: dataset.pairs(root, split)[:: (-1) ** next(calls)]
    )


def spoil_lookup(dataset: Dataset) -> Dataset:
    return replace(dataset, lookup=np.where(dataset.lookup == 0, BACKGROUND, dataset.lookup))


def spoil_digest(dataset: Dataset) -> Dataset:
    generator = np.random.default_rng(0)
    return replace(
        dataset,
        read_labels=lambda file: np.where(
            generator.random(dataset.read_labels(file).shape) < 0.1,
            0,
            dataset.read_labels(file),
        ),
    )


@pytest.mark.parametrize(
    ("check", "spoil"),
    [
        (datasets.check_classes, spoil_lookup),
        (datasets.check_classes, lambda d: replace(d, colours=d.colours[1:])),
        (datasets.check_samples, spoil_order),
        (datasets.check_prepared, spoil_digest),
        (datasets.check_refusals, lambda d: replace(d, pairs=lambda *_: [])),
    ],
)
def test_a_broken_dataset(check: Any, spoil: Any, tmp_path: Path) -> None:
    root = TREES["camvid"](tmp_path / "source")
    with pytest.raises((AssertionError, IndexError)):
        check(spoil(DATASETS["camvid"]), root)
