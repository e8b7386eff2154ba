"""With `train.compile`: one graph for each kind of variant, and the same loss but for rounding."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.engine import networks
from pipeline.settings import params
from pipeline.training.recipe import training_loss
from tests.conftest import ROOT
from tests.test_steps import batch, make

SETTINGS = params.load(ROOT / "params.yaml")


KINDS = ("ann", "common_nb", "random1236", "max15", "ppm", "criss_cross")  # all rows take minutes


@pytest.mark.parametrize("variant", KINDS)
def test_every_variant_is_one_graph(variant: str) -> None:
    settings = SETTINGS.resolve_network(variant) | {"widths": [8, 8, 8, 8], "dropout": 0.1}
    torch.manual_seed(0)
    network = networks.build(settings, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8)
    labels, sample_ids = torch.randint(0, 3, (2, 128, 128)), torch.arange(2)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    torch.compiler.reset()
    found = []
    for computed in (network, torch.compile(network, fullgraph=True, backend="aot_eager")):
        network.load_state_dict(state)
        network.zero_grad()
        logits, aux = computed(images, sample_ids)
        loss = training_loss(
            SETTINGS.active.train.loss,
            logits,
            aux,
            labels,
            class_weights=None,
            align_corners=False,
        )
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in network.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("variant", ["ann", "random1236"])
def test_a_compiled_network_takes_maps_of_other_sizes(variant: str) -> None:
    """The second size is the one from which torch.compile lets sizes vary."""
    settings = SETTINGS.resolve_network(variant) | {"widths": [8, 8, 8, 8]}
    torch.manual_seed(0)
    network = networks.build(settings, 3).eval()
    torch.compiler.reset()
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    with torch.no_grad():
        for size in ((64, 128), (96, 128), (136, 72)):
            images = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
            torch.testing.assert_close(compiled(images)[0], network(images)[0])


def test_a_training_of_a_compiled_network_takes_the_same_steps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compile_network, compiled_models = torch.compile, []

    def compile_by(model: nn.Module, **_: Any) -> Any:
        compiled_models.append(model)
        return compile_network(model, backend="aot_eager", fullgraph=True)  # in seconds

    monkeypatch.setattr(torch, "compile", compile_by)
    torch.compiler.reset()
    losses = []
    for compiled in (False, True):
        training = make(monkeypatch, tmp_path, compile=compiled)
        for number in range(2):
            training.step(number, batch())
        losses.append(training.losses[:2].clone())
        assert not any("_orig_mod" in name for name in training.module.state_dict())
    assert compiled_models  # Fabric compiles again what it wraps
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=0)
