"""MLflow as a view of the repository's files: whatever is there can be sent, again and again.

A run is found by its fingerprint, so sending twice adds nothing, a run that was killed and
resumed stays one run, and a lost store is filled again by `python -m pipeline.track`. A parent
run stands for a variant, its children for the seeds.
"""

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from pipeline.common.files import digest
from pipeline.common.scores import first

if TYPE_CHECKING:  # importing mlflow takes seconds, and short runs never need it
    from mlflow import MlflowClient
    from mlflow.entities import Run

LOCAL_STORE = "sqlite:///mlflow.db"
EXPERIMENT = "ann"
UNSENT = Path(".mlflow.unsent")  # there while something could not be sent
LIMIT = float(os.environ.get("ANN_TRACK_LIMIT", "60"))  # seconds for one run, MLflow's import too
_POINTS = 200  # of a run's curve, evenly spaced; curve.csv has every iteration
_BATCH = 1000  # MLflow's limit of metrics in one request
_FINGERPRINT, _ROWS, _SCORED = "fingerprint", "curve.rows", "scored"


def attempt(
    record: dict[str, Any],
    curve: Sequence[dict[str, float]],
    scores: dict[str, Any] | None = None,
) -> bool:
    """Send what there is; a failure is told, remembered and stops nothing. Whether it was sent."""
    try:
        with _within(LIMIT):
            send(record, curve, scores)
    except (Exception, _TooLong) as error:  # any fault of the store: the files keep everything
        _store.cache_clear()
        reason = (str(error) or type(error).__name__).splitlines()[0]
        print(f"tracking failed and will be repeated later: {reason}", file=sys.stderr)
        with suppress(OSError):
            UNSENT.write_text(reason + "\n")
        return False
    return True


class _TooLong(BaseException):
    """Not an Exception: MLflow would catch it and try again, for minutes."""


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """End the block if it takes longer: a store that is locked or far away delays no training."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise _TooLong(f"the store did not answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def send(
    record: dict[str, Any],
    curve: Sequence[dict[str, float]],
    scores: dict[str, Any] | None = None,
) -> str:
    """Bring a run's page up to date; returns MLflow's run id."""
    client, experiment = _store()
    with _locked():  # two seeds of one variant must not both create its parent
        run = _find(client, experiment, record["fingerprint"]) or _create(
            client, experiment, record
        )
    run_id, tags = run.info.run_id, run.data.tags
    sent = int(tags.get(_ROWS, 0))
    if len(curve) > sent:
        step = max(1, record["config"]["train"]["iterations"] // _POINTS)
        _send_curve(client, run_id, [r for r in curve[sent:] if r["iteration"] % step == 0])
        client.set_tag(run_id, _ROWS, str(len(curve)))
    if scores is not None and _SCORED not in tags:
        shown = first(scores)
        for name in ("miou", "pixel_accuracy", "classes_present"):
            client.log_metric(run_id, name, shown[name])
        table = {"class": list(shown["class_iou"]), "iou": list(shown["class_iou"].values())}
        client.log_table(run_id, table, "class_iou.json")
        client.set_tag(run_id, _SCORED, "yes")
        end = _milliseconds(record) + int(1000 * record["speed"]["seconds"])
        client.set_terminated(run_id, end_time=end)
    return run_id


@cache
def _store() -> tuple["MlflowClient", str]:
    """The client and the experiment's id; makes both, safely when several start at once."""
    import logging

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")  # MLflow waits minutes if not told
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    uri = os.environ.get("MLFLOW_TRACKING_URI") or LOCAL_STORE
    with _locked():
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return client, experiment.experiment_id
        artifacts = Path("mlartifacts").resolve().as_uri() if uri == LOCAL_STORE else None
        return client, client.create_experiment(EXPERIMENT, artifact_location=artifacts)


@contextmanager
def _locked() -> Iterator[None]:
    with Path(".mlflow.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _find(client: "MlflowClient", experiment: str, fingerprint: str) -> "Run | None":
    runs = client.search_runs([experiment], f"tags.{_FINGERPRINT} = '{fingerprint}'", max_results=1)
    return runs[0] if runs else None


def _create(client: "MlflowClient", experiment: str, record: dict[str, Any]) -> "Run":
    config = {k: v for k, v in record["config"].items() if k != "seed"}
    variant = digest([record["profile"], record["variant"], config, record["code"]["commit"]])[:16]
    parent = _find(client, experiment, variant)
    if parent is None:
        tags = {_FINGERPRINT: variant, "profile": record["profile"], "variant": record["variant"]}
        start = _milliseconds(record)
        parent = client.create_run(experiment, start, tags, record["variant"])
        _send_params(client, parent.info.run_id, config)
        client.set_terminated(parent.info.run_id, end_time=start)
    tags = _tags(record, parent)
    run = client.create_run(experiment, _milliseconds(record), tags, run_name(record))
    _send_params(client, run.info.run_id, record["config"])
    _send_dataset(client, run.info.run_id, record["dataset"])
    return run


def _milliseconds(record: dict[str, Any]) -> int:
    """When the run started, as MLflow counts time."""
    return 1000 * int(record["started"])


def run_name(record: dict[str, Any]) -> str:
    """The run's name in MLflow, the same in every store."""
    return f"{record['variant']}-{record['seed']}-{record['fingerprint'][:8]}"


def _tags(record: dict[str, Any], parent: "Run") -> dict[str, Any]:
    code, environment = record["code"], record["environment"]
    libraries = {f"library.{name}": v for name, v in environment["libraries"].items()}
    machine = {k: str(v) for k, v in environment.items() if k != "libraries"}
    return {
        _FINGERPRINT: record["fingerprint"],
        "mlflow.parentRunId": parent.info.run_id,
        "profile": record["profile"],
        "variant": record["variant"],
        "seed": str(record["seed"]),
        "dvc.stage": f"train@{record['variant']}-{record['seed']}",
        "git.commit": str(code["commit"]),
        "git.dirty": str(code["dirty"]),
        "dataset.digest": record["dataset"]["digest"],
        **machine,
        **libraries,
    }


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else name)
    else:
        yield key, str(value)


def _send_params(client: "MlflowClient", run_id: str, config: dict[str, Any]) -> None:
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(key, value) for key, value in _flat(config)])


def _send_dataset(client: "MlflowClient", run_id: str, dataset: dict[str, str]) -> None:
    from mlflow.entities import Dataset, DatasetInput

    entry = Dataset(dataset["name"], dataset["digest"][:36], "local", "prepared by DVC")
    client.log_inputs(run_id, datasets=[DatasetInput(entry)])


def _send_curve(client: "MlflowClient", run_id: str, rows: Sequence[dict[str, float]]) -> None:
    from mlflow.entities import Metric

    metrics = [
        Metric(name, row[name], 0, int(row["iteration"])) for row in rows for name in ("loss", "lr")
    ]
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
