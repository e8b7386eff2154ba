"""MLflow: safe when several start at once, and never in the way."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.tracking import runs
from pipeline.tracking import store as tracking
from tests.conftest import ROOT


def record(seed: int) -> dict[str, Any]:
    environment = {"device": "cpu", "cpu": "x", "libraries": {"torch": "2"}}
    return {
        "profile": "embedded",
        "variant": "apnb",
        "seed": seed,
        "fingerprint": f"{seed:016x}",
        "started": 1_700_000_000,
        "dataset": {"name": "cityscapes", "digest": "d" * 64},
        "config": {"train": {"iterations": 1400}, "seed": seed},
        "code": {"commit": "c" * 40, "dirty": False},
        "environment": environment,
    }


def test_several_processes_make_one_store_and_one_parent(tmp_path: Path) -> None:
    rows = [{"iteration": i + 1, "loss": 1.0 / (i + 1), "lr": 0.1} for i in range(700)]
    script = "import json, sys; from pipeline.tracking import runs;runs.send(*json.load(sys.stdin))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for seed, process in enumerate(processes):
        assert process.stdin
        process.stdin.write(json.dumps([record(seed), rows[: 400 + 100 * seed]]))
        process.stdin.close()
    for process in processes:
        assert process.wait() == 0, process.stderr and process.stderr.read()

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("ann")
    assert experiment
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name or "" for run in runs) == [
        "apnb",
        "apnb-0-00000000",
        "apnb-1-00000000",
        "apnb-2-00000000",
    ]
    for run in runs:
        if run.info.run_name == "apnb":
            continue
        history = client.get_metric_history(run.info.run_id, "loss")
        last = 400 + 100 * int(run.data.tags["seed"])
        assert [m.step for m in history] == list(range(7, last + 1, 7))


def test_an_unreachable_store_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/file/mlflow.db")
    tracking.connect.cache_clear()
    tracking.attempt(partial(runs.send, record(0), []))
    tracking.connect.cache_clear()
    assert "tracking failed and will be repeated later" in capsys.readouterr().err
