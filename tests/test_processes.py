"""Two processes over gloo do what one does: data, batch norm, loss, confusion matrix."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file
from torch import nn

from ann import FORMS, BlockOptions, NonLocalBlock, Sampler
from ann.sync_norm import synchronised
from pipeline.common import processes, yaml_file
from pipeline.common.cli import InputError
from pipeline.inputs.loader import Numbered, batches
from pipeline.training.state import Training
from tests.conftest import Clone
from tests.trainings import make

ITERATIONS = 5


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def slurm_step(clone: Clone, *words: str) -> list[str]:
    """A command in two processes with the environment that `srun --ntasks-per-node=2` makes."""
    names = ("NTASKS", "NTASKS_PER_NODE", "NNODES", "JOB_NAME", "STEP_ID", "JOB_ID", "NODELIST")
    values = ("2", "2", "1", "ann", "0", "4711", "127.0.0.1")
    step = {f"SLURM_{name}": value for name, value in zip(names, values, strict=True)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=clone.path,
            env=os.environ
            | step
            | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NODEID": "0"}
            | {"MASTER_PORT": step_port},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for step_port in [free_port()]
        for rank in ("0", "1")
    ]
    told = [process.communicate(timeout=200)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], told
    return told


def results(clone: Clone) -> tuple[Any, ...]:
    folder = clone.path / "runs/embedded/ann-0"
    return (
        pd.read_csv(folder / "curve.csv")["loss"].to_numpy(),
        load_file(clone.path / "weights/embedded/ann-0.safetensors"),
        json.loads((folder / "scores.json").read_text()),
    )


@pytest.fixture(scope="module")
def prepared(clone: Clone) -> Clone:
    """Float32, labels with many pixels ignored, and an odd number of images to score."""
    file = clone.path / "params.yaml"
    settings = yaml_file.read(file)
    settings["scene"]["val"] = 5
    train = settings["profiles"]["embedded"]["train"]
    train |= {"iterations": ITERATIONS, "batch_size": 4, "precision": "float32"}
    # Not AdamW: it makes a full step of a gradient that is nothing but rounding.
    train["optimizer"] = {"name": "sgd", "lr": 0.02, "momentum": 0.9, "weight_decay": 0.001}
    train["augment"] |= {"scale": [0.4, 1.0]}  # the rest of the crop is ignored
    settings["profiles"]["embedded"]["evaluate"]["batch_size"] = 1
    yaml_file.write(file, settings)
    clone.run("dvc", "repro", "--quiet", "prepare")
    return clone


def test_two_processes_train_and_score_as_one(
    prepared: Clone, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    train, evaluate = ("pipeline.train", "ann", "0"), ("pipeline.evaluate", "ann", "0")
    prepared.run("python", "-m", *train)
    prepared.run("python", "-m", *evaluate)
    losses, _, scores = results(prepared)
    slurm_step(prepared, *evaluate)
    assert results(prepared)[2] == scores  # of the same weights, in whole numbers
    rendezvous = ["--nproc-per-node", "2", "--master-port", free_port()]
    prepared.run("torchrun", *rendezvous, "-m", *train)
    spread, weights, _ = results(prepared)
    np.testing.assert_allclose(spread, losses, rtol=2e-2)
    # PyTorch's own batch norm on a CPU is exact to four digits only; with ours in one process too
    # the losses are the same to rounding.
    expected, means = losses_alone(prepared, monkeypatch)
    np.testing.assert_allclose(spread, expected, rtol=1e-5)
    for name, tensor in means.items():  # of all samples, not of the half of one process
        torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-5)


def losses_alone(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The losses of one process with our batch norm, and its running means."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", free_port())
    dist.init_process_group("gloo", rank=0, world_size=1)
    try:
        made = training(clone, monkeypatch)
        synchronised(made.bare, "cpu")
        made.model.train()
        samples = Numbered(made.store, made.run.train.augment, 0)
        for i, batch in enumerate(batches(samples, batch_size=4, start=0, stop=ITERATIONS)):
            made.step(i, batch)
    finally:
        dist.destroy_process_group()
    buffers = {n: b for n, b in made.bare.named_buffers() if n.endswith("running_mean")}
    return made.losses.tolist(), buffers


def training(clone: Clone, monkeypatch: pytest.MonkeyPatch, **changes: object) -> Training:
    """A run of `ann` with its settings changed, in this process."""
    monkeypatch.chdir(clone.path)
    return make("ann", **changes)


@pytest.mark.parametrize("at_labels", [False, True])
def test_micro_batches_add_up_to_the_batch(
    prepared: Clone, monkeypatch: pytest.MonkeyPatch, at_labels: bool, one_thread: None
) -> None:
    found = []
    for micro_batch in (None, 1, 3):
        made = training(prepared, monkeypatch, micro_batch=micro_batch)
        loss = made.run.train.loss.model_copy(update={"at_labels": at_labels})
        train = made.run.train.model_copy(update={"loss": loss})
        made.run = replace(made.run, train=train)
        made.model.train()
        for module in made.bare.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()  # its statistics are what differs
        batch = next(batches(Numbered(made.store, train.augment, 0), batch_size=4, start=0, stop=1))
        assert len({int((labels < 255).sum()) for labels in batch.labels}) > 1
        total = made._gradients(batch)
        found.append((total, [p.grad for p in made.bare.parameters()]))
    for total, gradients in found[1:]:
        torch.testing.assert_close(total, found[0][0], rtol=1e-5, atol=0)
        for ours, whole in zip(gradients, found[0][1], strict=True):
            torch.testing.assert_close(ours, whole, rtol=1e-3, atol=1e-5)


def blocks_over_processes(rank: int, port: str, folder: str) -> None:
    """One of two processes: each block of its part of the batch, and the gradients of both."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    found = {}
    for form in FORMS:
        block, x = made_block(form)
        output = synchronised(block, "cpu")(x.split([1, 3])[rank])  # not equal: sums, not means
        output.square().sum().backward()
        for parameter in block.parameters():
            dist.all_reduce(parameter.grad)
        gradients = {name: p.grad for name, p in block.named_parameters()}
        found[form] = [output.detach(), gradients, dict(block.named_buffers())]
    torch.save(found, f"{folder}/{rank}")
    dist.destroy_process_group()


def made_block(form: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    options = BlockOptions(embedding_norm=True, form=form)  # type: ignore[arg-type]
    sampler = Sampler("pyramid_average", [1, 3])
    block = NonLocalBlock(6, key_channels=4, value_channels=4, sampler=sampler, options=options)
    x = torch.randn(4, 6, 9, 8) + torch.arange(4).view(4, 1, 1, 1)
    return block.double(), x.double()


def test_both_forms_of_a_block_with_batch_norm_over_processes(
    tmp_path: Path, one_thread: None
) -> None:
    mp.spawn(blocks_over_processes, (free_port(), str(tmp_path)), nprocs=2)
    shares = [torch.load(tmp_path / str(rank), weights_only=True) for rank in range(2)]
    for form in FORMS:
        block, x = made_block(form)
        expected = block(x)
        expected.square().sum().backward()
        torch.testing.assert_close(torch.cat([s[form][0] for s in shares]), expected.detach())
        for _, gradients, buffers in (share[form] for share in shares):
            for name, parameter in block.named_parameters():
                torch.testing.assert_close(gradients[name], parameter.grad)
            for name, buffer in block.named_buffers():
                torch.testing.assert_close(buffers[name], buffer)


def test_a_batch_script_of_slurm_is_not_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SLURM_NTASKS", "3"), ("SLURM_NNODES", "2"), ("SLURM_JOB_NAME", "ann")):
        monkeypatch.setenv(name, value)
    assert processes._place()[:2] == (1, 1)  # what it starts itself is one process
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    with pytest.raises(InputError, match="SLURM_NTASKS is 3; allowed are multiples of the 2 nodes"):
        processes._place()
