"""A run's page in MLflow: one variant with one seed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.common.files import digest, flat
from pipeline.common.provenance import run_name
from pipeline.common.scores import first
from pipeline.tracking.local import lost
from pipeline.tracking.store import FINGERPRINT, connect, find, locked

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Rows = Sequence[dict[str, float]]

_POINTS = 200  # of a run's curve, evenly spaced; curve.csv has every iteration
_BATCH = 1000  # MLflow's limit of metrics in one request
_ROWS, _SCORED = "curve.rows", "scored"
_PARENT = "mlflow.parentRunId"


def send(
    record: dict[str, Any],
    curve: Rows,
    scores: dict[str, Any] | None = None,
    files: Sequence[Path] = (),
) -> str:
    """Bring a run's page up to date, `files` with the scores; returns MLflow's run id."""
    client, experiment = connect()
    with locked():  # two seeds of one variant must not both create its parent
        above = parent(client, experiment, record).info.run_id
        run = find(client, experiment, record["fingerprint"])
        run = run or _create(client, experiment, record, above)
    run_id, tags = run.info.run_id, run.data.tags
    if tags.get(_PARENT) != above:  # the variant's run was deleted in MLflow's pages
        client.set_tag(run_id, _PARENT, above)
    sent = int(tags.get(_ROWS, 0))
    if len(curve) > sent:
        send_curve(client, run_id, thinned(record, curve[sent:]))
        client.set_tag(run_id, _ROWS, str(len(curve)))
    if scores is not None and (_SCORED not in tags or lost(run.info.artifact_uri)):
        shown = first(scores)
        for name in ("miou", "pixel_accuracy", "classes_present"):
            client.log_metric(run_id, name, shown[name])
        table = {"class": list(shown["class_iou"]), "iou": list(shown["class_iou"].values())}
        client.log_table(run_id, table, "class_iou.json")
        for file in files:
            client.log_artifact(run_id, str(file))
        client.set_tag(run_id, "mlflow.note.content", _note(record, scores))
        client.set_tag(run_id, _SCORED, "yes")
        client.set_terminated(run_id, end_time=milliseconds(record) + spent(record))
    return run_id


def variant_fingerprint(record: dict[str, Any]) -> str:
    """What the runs of a variant have in common: its parent's."""
    config = {k: v for k, v in record["config"].items() if k != "seed"}
    return digest([record["profile"], record["variant"], config, record["code"]["commit"]])[:16]


def parent(client: "MlflowClient", experiment: str, record: dict[str, Any]) -> "Run":
    """Return the run that stands for the record's variant; make it if there is none."""
    variant = variant_fingerprint(record)
    found = find(client, experiment, variant)
    if found is None:
        tags = _common_tags(record) | {FINGERPRINT: variant}
        start = milliseconds(record)
        found = client.create_run(experiment, start, tags, record["variant"])
        config = {k: v for k, v in record["config"].items() if k != "seed"}
        _send_settings(client, found.info.run_id, config, record["dataset"])
        client.set_terminated(found.info.run_id, end_time=start)
    return found


def _create(client: "MlflowClient", experiment: str, record: dict[str, Any], above: str) -> "Run":
    tags = _tags(record, above)
    run = client.create_run(experiment, milliseconds(record), tags, run_name(record))
    _send_settings(client, run.info.run_id, record["config"], record["dataset"])
    return run


def milliseconds(record: dict[str, Any]) -> int:
    """When the run started, as MLflow counts time."""
    return 1000 * int(record["started"])


def spent(record: dict[str, Any]) -> int:
    """How long its training took, likewise."""
    return int(1000 * record["speed"]["seconds"])


def _note(record: dict[str, Any], scores: dict[str, Any]) -> str:
    """The page's description, in Markdown."""
    told = ", ".join(f"{100 * s['miou']:.2f} ({p})" for p, s in scores["protocols"].items())
    stage = f"{record['variant']}-{record['seed']}"
    return (
        f"mIoU {told} on {scores['images']} validation images.\n\n"
        f"Again: `git checkout {record['code']['commit']} && dvc repro evaluate@{stage}`"
    )


def _common_tags(record: dict[str, Any]) -> dict[str, str]:
    code = record["code"]
    return {
        "profile": record["profile"],
        "variant": record["variant"],
        "git.commit": str(code["commit"]),
        "git.dirty": str(code["dirty"]),
        "dataset.digest": record["dataset"]["digest"],
        "mlflow.source.name": "python -m pipeline.train",  # what MLflow's own columns show
        "mlflow.source.type": "PROJECT",
        "mlflow.source.git.commit": str(code["commit"]),
    }


def _tags(record: dict[str, Any], above: str) -> dict[str, str]:
    environment = record["environment"]
    libraries = {f"library.{name}": v for name, v in environment["libraries"].items()}
    machine = {k: str(v) for k, v in environment.items() if k != "libraries"}
    return {
        **_common_tags(record),
        FINGERPRINT: record["fingerprint"],
        _PARENT: above,
        "seed": str(record["seed"]),
        "dvc.stage": f"train@{record['variant']}-{record['seed']}",
        **machine,
        **libraries,
    }


def _send_settings(
    client: "MlflowClient", run_id: str, config: dict[str, Any], dataset: dict[str, str]
) -> None:
    from mlflow.entities import Dataset, DatasetInput, Param

    client.log_batch(run_id, params=[Param(key, str(value)) for key, value in flat(config)])
    entry = Dataset(dataset["title"], dataset["digest"][:36], "local", "prepared by DVC")
    client.log_inputs(run_id, datasets=[DatasetInput(entry)])


def thinned(record: dict[str, Any], rows: Rows) -> Rows:
    """The rows of a curve that are shown: the same iterations of each seed."""
    step = max(1, record["config"]["train"]["iterations"] // _POINTS)
    return [row for row in rows if row["iteration"] % step == 0]


def send_curve(client: "MlflowClient", run_id: str, rows: Rows) -> None:
    from mlflow.entities import Metric

    metrics = [
        Metric(name, row[name], 0, int(row["iteration"])) for row in rows for name in ("loss", "lr")
    ]
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
