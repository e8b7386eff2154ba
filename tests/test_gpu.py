"""On a GPU: the values and gradients of the CPU, the same bits twice, and no waiting.

All of it is skipped on a machine without one.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from ann import SAMPLINGS, BlockOptions, NonLocalBlock, Ohem, Sampler, loss_sums
from pipeline.engine import networks, precision
from pipeline.settings import params, schema
from pipeline.training.recipe import make_optimizer, training_loss
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SETTINGS = params.load(ROOT / "params.yaml")
SAMPLERS: list[Any] = [
    None,
    *((name, [1, 3] if name.startswith("pyramid") else [3]) for name in SAMPLINGS),
]
OHEM = schema.Ohem(threshold=0.7, min_kept=1000)


@pytest.fixture(autouse=True)
def _settings_of_before() -> Any:
    yield
    torch.use_deterministic_algorithms(False)
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("form", ["plain", "fast", "fused"])
@pytest.mark.parametrize("sampling", SAMPLERS, ids=str)
@pytest.mark.parametrize("low", [None, 24], ids=["own", "low"])
def test_blocks_have_the_values_and_gradients_of_the_cpu(
    form: Any, sampling: Any, low: int | None
) -> None:
    precision.set_up_cuda("float32", deterministic=True)
    torch.manual_seed(0)
    block = NonLocalBlock(
        32,
        low_channels=low,
        key_channels=16,
        value_channels=16,
        sampler=Sampler(*sampling) if sampling else None,
        options=BlockOptions(form=form, zero_init=False),
    )
    maps = [torch.randn(2, n, 17, 13) for n in (32, low) if n]
    found = []
    for device in ("cpu", "cuda"):
        own = [x.to(device).requires_grad_() for x in maps]
        block = block.to(device)
        block.zero_grad()
        y = block(*own, sample_ids=torch.arange(2, device=device))
        y.square().mean().backward()
        gradients = [x.grad for x in own] + [p.grad for p in block.parameters()]
        found.append([t.detach().cpu() for t in (y, *gradients) if t is not None])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def make_step(variant: str, mixed: bool, loss: schema.Loss) -> Any:
    """Return a function that takes a training step, and the network."""
    torch.manual_seed(0)
    device = torch.device("cuda")
    network = networks.build(SETTINGS.resolve_network(variant) | {"dropout": 0.1}, 19).to(device)
    network = network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = make_optimizer(network, SETTINGS.active.train.optimizer)
    images = torch.randint(0, 256, (4, 3, 128, 256), dtype=torch.uint8, device=device)
    labels = torch.randint(0, 19, (4, 128, 256), device=device)
    weights = torch.rand(19, device=device) + 0.5

    def step(number: int) -> None:
        sample_ids = torch.arange(4 * number, 4 * number + 4, device=device)
        optimizer.zero_grad()
        with precision.autocast("bfloat16" if mixed else "float32", device):
            logits, aux = network(images, sample_ids)
        value = training_loss(loss, logits, aux, labels, class_weights=weights, align_corners=False)
        value.backward()
        optimizer.step()

    return step, network


@pytest.mark.parametrize("variant", [*SETTINGS.rows])
@pytest.mark.parametrize("mixed", [True, False], ids=["bfloat16", "float32"])
def test_the_same_steps_give_the_same_bits(variant: str, mixed: bool) -> None:
    precision.set_up_cuda("float32", deterministic=True)
    found: list[dict[str, Tensor]] = []
    for _ in range(2):
        step, network = make_step(variant, mixed, SETTINGS.active.train.loss)
        for number in range(10):
            step(number)
        found.append({name: value.cpu() for name, value in network.state_dict().items()})
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


@pytest.mark.parametrize("variant", [*SETTINGS.rows])
@pytest.mark.parametrize("ohem", [None, OHEM], ids=["all", "hard"])
def test_a_step_does_not_wait_for_the_device(variant: str, ohem: schema.Ohem | None) -> None:
    precision.set_up_cuda("float32")
    loss = SETTINGS.active.train.loss.model_copy(update={"ohem": ohem, "at_labels": True})
    step, _ = make_step(variant, True, loss)
    for number in range(2):
        step(number)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    step(2)


def test_hard_pixels_are_those_of_the_cpu() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 9, 8)
    labels = torch.randint(0, 5, (2, 9, 8))
    labels[0] = 255
    for kept in (1, 20, 1000):
        found = [
            loss_sums(logits.to(d), None, labels.to(d), ohem=Ohem(0.3, kept))
            for d in ("cpu", "cuda")
        ]
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs.cpu())
