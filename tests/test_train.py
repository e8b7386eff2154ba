"""Training: its schedule, and that a killed run ends as one that was not, bit for bit."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ann import SegmentationNetwork
from pipeline.engine import checkpoint
from pipeline.engine.errors import InputError
from pipeline.engine.weights import load_backbone
from pipeline.settings import records, schema
from pipeline.training.recipe import class_weights, make_optimizer, poly_lr
from tests.conftest import Clone
from tests.recorded import manifest, split


def test_poly_lr() -> None:
    assert poly_lr(0.01, 0, 100, 0.9) == 0.01
    assert poly_lr(0.01, 50, 100, 0.9) == pytest.approx(0.01 * 0.5**0.9)
    assert poly_lr(0.01, 0, 100, 0.9, warmup=10) == pytest.approx(0.001)
    assert [poly_lr(1, i, 10, 1) for i in range(9, 11)] == [pytest.approx(0.1), 0]


def test_class_weights_by_histogram() -> None:
    train = split(pixels={"a": 900, "b": 100})
    data = manifest(["a", "b"], splits=records.Splits(train=train, val=split()))
    loss = {"aux_weight": 0.4, "class_weights": {"power": 0.5}, "ohem": None, "at_labels": True}
    weights = class_weights(schema.Loss.model_validate(loss), data)
    torch.testing.assert_close(weights, torch.tensor([1 / 0.901, 1 / 0.101]).sqrt())
    listed = schema.Loss.model_validate({**loss, "class_weights": [1.0, 2.0, 3.0]})
    with pytest.raises(InputError, match="class_weights must have 2 values, one for each"):
        class_weights(listed, data)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_training_state_goes_to_disk_and_back(name: str, tmp_path: Path) -> None:
    def make() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        model = model.to(memory_format=torch.channels_last)
        momentum = 0.9 if name == "sgd" else None
        settings = {"name": name, "lr": 0.1, "weight_decay": 0.01, "momentum": momentum}
        return model, make_optimizer(model, schema.Optimizer.model_validate(settings))

    def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        optimizer.zero_grad()
        model(torch.randn(2, 3, 8, 8, generator=torch.manual_seed(seed))).square().sum().backward()
        optimizer.step()

    undisturbed, optimizer = make()
    for seed in range(6):
        step(undisturbed, optimizer, seed)
        if seed == 2:
            state = checkpoint.flatten_state(undisturbed, optimizer)
            checkpoint.save(tmp_path / "state.safetensors", state, iteration=3)
    resumed, optimizer = make()
    tensors, about = checkpoint.load(tmp_path / "state.safetensors")
    checkpoint.restore_state(tensors, resumed, optimizer)
    assert about == {"iteration": 3}
    for seed in range(3, 6):
        step(resumed, optimizer, seed)
    for a, b in zip(undisturbed.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"\x80\x04nothing")
    with pytest.raises(InputError, match="not a readable safetensors file"):
        checkpoint.load(file)


def test_backbone_weights_from_a_file(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    theirs, file = resnet18(), tmp_path / "resnet18.pth"
    torch.save(theirs.state_dict(), file)
    network = SegmentationNetwork(2, backbone="resnet18")
    load_backbone(network.backbone, "resnet18", str(file))
    assert torch.equal(network.backbone.stem[0].weight, theirs.conv1.weight)  # type: ignore[index]
    for name, spoilt in (("resnet34", "resnet18"), ("resnet18", "none.pth")):
        with pytest.raises(InputError, match=r"network\.weights"):
            load_backbone(
                SegmentationNetwork(2, backbone=name).backbone,
                name,
                str(file if spoilt == "resnet18" else tmp_path / spoilt),
            )


def test_a_killed_training_ends_with_the_same_weights(clone: Clone) -> None:
    weights = clone.path / "weights/embedded/ann-0.safetensors"
    curve = clone.path / "runs/embedded/ann-0/curve.csv"
    command = [sys.executable, "-m", "pipeline", "train", "ann", "0"]
    clone.edit("iterations: 6", "iterations: 60")
    clone.run("dvc", "repro", "prepare")

    subprocess.run(command, cwd=clone.path, check=True, capture_output=True)
    expected = weights.read_bytes(), curve.read_bytes()
    weights.unlink()
    curve.unlink()

    environment = {**os.environ, "ANN_SAVE_SECONDS": "0"}
    for how in (signal.SIGKILL, signal.SIGTERM):  # at two places
        process = subprocess.Popen(
            command,
            cwd=clone.path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        before = [f.stat().st_mtime_ns for f in clone.path.glob(".resume/*/state.safetensors")]
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            states = list(clone.path.glob(".resume/*/state.safetensors"))
            if [f.stat().st_mtime_ns for f in states] not in ([], before):
                break
            time.sleep(0.005)
        process.send_signal(how)
        told = process.communicate()[1]
        assert not weights.exists()
        if how == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
            continue
        assert process.returncode == 128 + signal.SIGTERM
        stopped = re.search(r"ann-0: stopped at iteration (\d+) of 60; `dvc repro` resumes", told)
        assert stopped, told
    done = subprocess.run(
        command, cwd=clone.path, check=True, capture_output=True, encoding="utf-8"
    )
    assert f"resumes at iteration {stopped[1]}" in done.stdout + done.stderr
    assert (weights.read_bytes(), curve.read_bytes()) == expected
    assert not list(clone.path.glob(".resume/*"))
    assert not [f for f in clone.path.rglob("*.partial") if ".dvc" not in f.parts]


def test_a_loss_that_is_not_finite_stops_the_run(clone: Clone) -> None:
    clone.edit("lr: 0.003", "lr: 1.0e+30")
    told = clone.run("python", "-m", "pipeline", "train", "baseline", "0", ok=False)
    assert "data/inputs/train/baseline.json is older than params.yaml" in told
    clone.run("dvc", "repro", "prepare")
    told = clone.run("python", "-m", "pipeline", "train", "baseline", "0", ok=False)
    assert re.search(r"baseline-0: the loss is (nan|inf) at iteration \d+, learning rate", told)
    assert not (clone.path / "weights/embedded/baseline-0.safetensors").exists()
