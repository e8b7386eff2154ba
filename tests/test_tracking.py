"""MLflow: safe when several start at once, and never in the way."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from pipeline.settings.paths import RunPaths
from pipeline.settings.records import RunRecord
from pipeline.stages import track
from pipeline.tracking import runs
from pipeline.tracking import store as tracking
from tests import recorded
from tests.conftest import ROOT


def record(seed: int, **changes: Any) -> RunRecord:
    known = {
        "variant": "apnb",
        "seed": seed,
        "fingerprint": f"{seed:016x}",
        "started": 1_700_000_000,
        "config.train.iterations": 1400,
        "config.seed": seed,
    }
    return recorded.changed(recorded.RECORD, known | changes)


@pytest.mark.slow
def test_several_processes_make_one_store_and_one_parent(tmp_path: Path) -> None:
    rows = [{"iteration": i + 1, "loss": 1.0 / (i + 1), "lr": 0.1} for i in range(700)]
    script = (
        "import json, sys; from pipeline.settings.records import RunRecord;"
        "from pipeline.tracking import runs; record, rows = json.load(sys.stdin);"
        "runs.send(RunRecord.model_validate_json(json.dumps(record)), rows)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        for _ in range(3)
    ]
    for seed, process in enumerate(processes):
        assert process.stdin
        process.stdin.write(json.dumps([record(seed).as_json(), rows[: 400 + 100 * seed]]))
        process.stdin.close()
    for process in processes:
        assert process.wait() == 0, process.stderr and process.stderr.read()

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("ann-embedded")
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
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/file/mlflow.db")
    tracking._make_client.cache_clear()
    tracking.attempt(partial(runs.send, record(0), []))
    tracking._make_client.cache_clear()
    assert "tracking failed and will be repeated later" in capsys.readouterr().err


def impatient(_: object, __: object, statement: str, values: object, *___: object) -> Any:
    """MLflow has SQLite wait for a lock by itself, too; 20 seconds each time."""
    return statement.replace("busy_timeout = 20000", "busy_timeout = 200"), values


def test_a_locked_store_delays_little_and_is_sent_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    event.listen(Engine, "before_cursor_execute", impatient, retval=True)
    tracking._make_client.cache_clear()
    rows = [{"iteration": i + 1, "loss": 1 / (i + 1), "lr": 0.1} for i in range(70)]
    page = runs.send(record(0), rows[:30])
    resumed = record(0, started=1_700_001_000)  # killed, and from an older state
    assert tracking.attempt(partial(runs.send, resumed, rows[:20]))
    assert runs.send(resumed, rows) == page
    history = tracking.connect("embedded")[0].get_metric_history(page, "loss")
    assert [m.step for m in history] == list(range(7, 71, 7))
    assert not tracking.UNSENT.exists()
    tracking._make_client.cache_clear()
    monkeypatch.setattr(tracking, "LIMIT", 2.0)
    holder = sqlite3.connect(tmp_path / "mlflow.db")
    holder.execute("BEGIN EXCLUSIVE")
    start = time.monotonic()
    assert not tracking.attempt(partial(runs.send, record(1), []))
    assert time.monotonic() - start < 15  # MLflow alone tries again for minutes
    assert "tracking failed and will be repeated later: " in capsys.readouterr().err
    assert tracking.UNSENT.exists()
    holder.rollback()
    monkeypatch.setattr(tracking, "LIMIT", 60.0)
    paths = RunPaths("embedded", "apnb", 1)
    recorded.write(paths.record, record(1))
    recorded.write(paths.scores, recorded.SCORES)
    paths.curve.write_text("iteration,lr,loss\n7,0.1,0.5\n", encoding="utf-8")
    (tmp_path / "params.yaml").write_text(
        (ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    track.main()
    assert not tracking.UNSENT.exists()
    assert "1 runs are in MLflow" in capsys.readouterr().out
    tracking._make_client.cache_clear()
    event.remove(Engine, "before_cursor_execute", impatient)


def test_an_unreachable_server_is_given_up_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    tracking._make_client.cache_clear()
    start = time.monotonic()
    assert not tracking.attempt(partial(runs.send, record(0), []))
    assert time.monotonic() - start < 30
    assert tracking.UNSENT.exists()
