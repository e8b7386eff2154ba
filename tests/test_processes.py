"""Two processes over gloo do what one does: data, batch norm, loss, confusion matrix."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
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
from ann.sync_norm import synchronise
from pipeline.data.samples.loader import NumberedSamples, load_batches
from pipeline.engine import gpus, processes, yaml_file
from pipeline.engine.errors import InputError
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
            encoding="utf-8",
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
        json.loads((folder / "scores.json").read_text(encoding="utf-8")),
    )


@pytest.fixture(scope="module")
def prepared(clone: Clone) -> Clone:
    """Float32, labels with many pixels ignored, and an odd number of images to score."""
    file = clone.path / "params.yaml"
    settings = yaml_file.read_yaml(file)
    settings["scene"]["val"] = 5
    train = settings["profiles"]["embedded"]["train"]
    train |= {"iterations": ITERATIONS, "batch_size": 4, "precision": "float32"}
    # Not AdamW: it makes a full step of a gradient that is nothing but rounding.
    train["optimizer"] = {"name": "sgd", "lr": 0.02, "momentum": 0.9, "weight_decay": 0.001}
    train["augment"] |= {"scale": [0.4, 1.0]}  # the rest of the crop is ignored
    settings["profiles"]["embedded"]["evaluate"]["batch_size"] = 1
    yaml_file.write_yaml(file, settings)
    clone.run("dvc", "repro", "--quiet", "prepare")
    return clone


def test_two_processes_train_and_score_as_one(
    prepared: Clone, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    train, evaluate = (
        ("pipeline", "train", "ann", "0"),
        ("pipeline", "evaluate", "ann", "0"),
    )
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
        synchronise(made.module)
        made.model.train()
        samples = NumberedSamples(made.store, made.run.train.augment, 0)
        for i, batch in enumerate(load_batches(samples, batch_size=4, start=0, stop=ITERATIONS)):
            made.step(i, batch)
    finally:
        dist.destroy_process_group()
    buffers = {n: b for n, b in made.module.named_buffers() if n.endswith("running_mean")}
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
        for module in made.module.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()  # its statistics are what differs
        batch = next(
            load_batches(
                NumberedSamples(made.store, train.augment, 0), batch_size=4, start=0, stop=1
            )
        )
        assert len({int((labels < 255).sum()) for labels in batch.labels}) > 1
        total = made._gradients(batch)
        found.append((total, [p.grad for p in made.module.parameters()]))
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
        output = synchronise(block)(x.split([1, 3])[rank])  # not equal: sums, not means
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


STEP = {"STEP_ID": "0", "STEP_NUM_TASKS": "2", "NTASKS": "2", "PROCID": "0", "LOCALID": "0"}


def set_slurm(monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> None:
    for name, value in {**STEP, **changes}.items():
        if value is not None:
            monkeypatch.setenv(f"SLURM_{name}", value)


def test_a_batch_script_of_slurm_is_not_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SLURM_NTASKS", "3"), ("SLURM_NNODES", "2"), ("SLURM_JOB_NAME", "ann")):
        monkeypatch.setenv(name, value)
    assert processes._find_place() is None  # what it starts itself is one process
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.setenv("SLURM_PROCID", "0")
    with pytest.raises(InputError, match="SLURM_NTASKS must be a multiple of the 2 nodes, got 3"):
        processes._find_place()


@pytest.mark.parametrize(
    "changes",
    [
        {"STEP_NUM_TASKS": "1"},  # of two in the job
        {"STEP_ID": "4294967290"},  # salloc's interactive step
        {"STEP_ID": ""},
        {"STEP_NUM_TASKS": "", "NTASKS": ""},
        {"JOB_NAME": "bash"},
        {"JOB_NAME": "interactive", "STEP_NUM_TASKS": None},
        {"PTY_PORT": "40000"},
    ],
)
def test_a_session_of_slurm_runs_one_process(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None]
) -> None:
    set_slurm(monkeypatch, **changes)
    assert processes._find_place() is None
    assert processes.launch().world_size == 1  # and does not wait


def test_a_step_started_in_a_session_is_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """It inherits the session's variables; only its parent tells it from the shell."""
    set_slurm(monkeypatch, JOB_NAME="interactive", PTY_PORT="40000")
    monkeypatch.setattr(processes, "_is_task", lambda: True)
    first = processes._find_place()
    monkeypatch.setattr(processes, "_is_task", lambda: False)
    monkeypatch.setenv("SLURM_PROCID", "1")  # which no shell has
    second = processes._find_place()
    assert first is not None
    assert second is not None
    assert (first.rank, second.rank, second.world_size) == (0, 1, 2)


def test_a_step_has_its_own_size_nodes_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"NTASKS": "8", "NTASKS_PER_NODE": "4", "NNODES": "2", "JOB_ID": "4711"}
    step = {"STEP_ID": "1", "STEP_NUM_NODES": "1", "NODELIST": "a[1-2]", "STEP_NODELIST": "a2"}
    set_slurm(monkeypatch, **job, **step)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    one = processes._find_place()
    assert one is not None
    assert (one.world_size, one.address) == (2, "a2")
    monkeypatch.setenv("SLURM_STEP_ID", "2")
    other = processes._find_place()
    assert other is not None
    assert other.port != one.port  # both may run at once, on one machine


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"SLURM_STEP_NUM_TASKS": "two"}, "SLURM_STEP_NUM_TASKS must be a whole"),
        ({"SLURM_PROCID": ""}, "SLURM_PROCID is not set to a number"),
        ({"SLURM_PROCID": "2"}, "SLURM_PROCID must be below .*, 2, got 2"),
        ({"SLURM_LOCALID": "-1"}, "SLURM_LOCALID must be a whole number from 0, got '-1'"),
        ({"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": ""}, "WORLD_SIZE is not set"),
        ({"TORCHELASTIC_RUN_ID": "x", "RANK": "", "WORLD_SIZE": "2"}, "RANK is not set"),
    ],
)
def test_variables_that_are_no_numbers_are_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: str
) -> None:
    set_slurm(monkeypatch)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=told):
        processes.launch()


# A command that only launches, as the command line runs it.
LAUNCH = """
from types import SimpleNamespace
from pipeline import __main__ as cli

def main():
    from pipeline.engine.processes import launch
    print(launch().world_size)

cli.import_module = lambda name: SimpleNamespace(main=main)
cli.run("launch")
"""


def test_ranks_that_an_older_shell_left_are_not_read(tmp_path: Path) -> None:
    stale = {"RANK": "", "LOCAL_RANK": "x", "WORLD_SIZE": "2", "SLURM_PROCID": ""}
    done = subprocess.run(
        [sys.executable, "-c", LAUNCH],
        env=os.environ | stale,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.stdout == "1\n", done.stderr


@pytest.mark.parametrize(("visible", "expected"), [(1, [0, 0, 0]), (2, [0, 1, 0]), (4, [0, 1, 2])])
def test_a_process_takes_a_gpu_that_it_sees(
    monkeypatch: pytest.MonkeyPatch, visible: int, expected: list[int]
) -> None:
    """One of its own, as by --gpus-per-task=1, or one of all of its machine."""
    monkeypatch.setattr(processes, "choose_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    for local_rank, index in enumerate(expected):
        place = processes.Place(local_rank, 3, local_rank, "127.0.0.1", 1)
        devices = processes._make_strategy(place).parallel_devices
        assert devices is not None
        assert devices[local_rank] == torch.device("cuda", index)


def test_processes_that_cannot_meet_are_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE", timedelta(seconds=1))
    set_slurm(monkeypatch, NODELIST="127.0.0.1")
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ["MASTER_PORT"] = free_port()
    with pytest.raises(InputError, match=r"process 0 of 2 could not reach the others"):
        processes.launch()
    place = processes.Place(1, 2, 1, "127.0.0.1", 1)
    error = "NCCL error: ncclInvalidUsage\nLast error:\nDuplicate GPU detected : rank 1 and rank 0"
    assert "must have a GPU of its own" in processes._explain(place, error)


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Put a program first in PATH that lists these GPUs."""
    lines = [f"GPU {i}: {name} (UUID: GPU-{i})" for i, name in enumerate(names)]
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\ncat <<'E'\n" + "\n".join(lines) + "\nE\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_gpus_are_counted_by_lines_and_as_cuda_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvidia_smi(tmp_path, monkeypatch, "NVIDIA GeForce RTX 3080 Laptop GPU", "MIG GPU")
    assert gpus.list_names() == ["0", "1"]
    for visible, expected in (("", []), ("2, 0", ["2", "0"]), ("3,-1,1", ["3"]), ("-1", [])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert gpus.list_names() == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch can use the GPU of this machine")
def test_a_gpu_that_pytorch_cannot_use_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvidia_smi(tmp_path, monkeypatch, "NVIDIA Null")
    gpus._warn_unusable.cache_clear()
    told = "the machine has 1 GPU, but PyTorch can use 0 and takes the CPU"
    assert [gpus.choose_device().type for _ in range(2)] == ["cpu", "cpu"]
    assert capsys.readouterr().err.count(told) == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # asked for
    gpus._warn_unusable.cache_clear()
    assert gpus.choose_device().type == "cpu"
    assert not capsys.readouterr().err
