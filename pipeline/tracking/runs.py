"""Write the page of a run in MLflow: one variant with one seed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.engine.files import digest, flatten
from pipeline.settings.records import Config, DataVersion, RunRecord, RunStart, Scores
from pipeline.tracking.local import is_lost
from pipeline.tracking.store import FINGERPRINT, connect, find_run, hold_lock

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Rows = Sequence[dict[str, float]]

_POINTS = 200  # of a run's curve, evenly spaced; curve.csv has every iteration
_BATCH = 1000  # MLflow's limit of metrics in one request
_ROWS, _SCORED = "curve.rows", "scored"
_PARENT = "mlflow.parentRunId"


def send(
    record: RunStart,
    curve: Rows,
    scores: Scores | None = None,
    files: Sequence[Path] = (),
) -> str:
    """Bring a run's page up to date, and return MLflow's run id.

    Args:
        record: The run's record, which must be complete if there are scores.
        curve: A row for each iteration.
        scores: The scores of a finished run.
        files: Files to show beside the scores.
    """
    client, experiment = connect(record.profile)
    with hold_lock():  # two seeds of one variant must not both create its parent
        parent_id = get_parent(client, experiment, record).info.run_id
        run = find_run(client, experiment, record.fingerprint)
        run = run or _create_run(client, experiment, record, parent_id)
    run_id, tags = run.info.run_id, run.data.tags
    if tags.get(_PARENT) != parent_id:  # somebody deleted the variant's run in MLflow's pages
        client.set_tag(run_id, _PARENT, parent_id)
    sent = int(tags.get(_ROWS, 0))
    if len(curve) > sent:
        send_curve(client, run_id, thin_curve(record, curve[sent:]))
        client.set_tag(run_id, _ROWS, str(len(curve)))
    if scores is not None and (_SCORED not in tags or is_lost(run.info.artifact_uri)):
        assert isinstance(record, RunRecord)
        first = scores.first
        for name in ("miou", "pixel_accuracy", "classes_present"):
            client.log_metric(run_id, name, getattr(first, name))
        table = {"class": list(first.class_iou), "iou": list(first.class_iou.values())}
        client.log_table(run_id, table, "class_iou.json")
        for file in files:
            client.log_artifact(run_id, str(file))
        client.set_tag(run_id, "mlflow.note.content", _describe_run(record, scores))
        client.set_tag(run_id, _SCORED, "yes")
        client.set_terminated(run_id, end_time=compute_start(record) + compute_duration(record))
    return run_id


def _dump_config(config: Config, *excluded: str) -> dict[str, object]:
    return config.model_dump(mode="json", exclude=set(excluded))


def fingerprint_variant(record: RunStart) -> str:
    """Return the fingerprint of a variant's parent run, which is the same for all its seeds."""
    config = _dump_config(record.config, "seed")
    return digest([record.profile, record.variant, config, record.code.commit])[:16]


def get_parent(client: "MlflowClient", experiment: str, record: RunStart) -> "Run":
    """Return the run that represents the record's variant; create it if there is none."""
    fingerprint = fingerprint_variant(record)
    run = find_run(client, experiment, fingerprint)
    if run is None:
        tags = _make_common_tags(record) | {FINGERPRINT: fingerprint}
        start = compute_start(record)
        run = client.create_run(experiment, start, tags, record.variant)
        config = _dump_config(record.config, "seed")
        _send_settings(client, run.info.run_id, config, record.dataset)
        client.set_terminated(run.info.run_id, end_time=start)
    return run


def _create_run(client: "MlflowClient", experiment: str, record: RunStart, parent_id: str) -> "Run":
    tags = _make_tags(record, parent_id)
    run = client.create_run(experiment, compute_start(record), tags, record.run_name)
    _send_settings(client, run.info.run_id, _dump_config(record.config), record.dataset)
    return run


def compute_start(record: RunStart) -> int:
    """Return the start of a run, in milliseconds since 1970."""
    return 1000 * record.started


def compute_duration(record: RunRecord) -> int:
    """Return the duration of a run's training, in milliseconds."""
    return int(1000 * record.speed.seconds)


def _describe_run(record: RunStart, scores: Scores) -> str:
    """Return the description of the run's page, in Markdown."""
    values = ", ".join(f"{100 * s.miou:.2f} ({p})" for p, s in scores.protocols.items())
    stage = f"{record.variant}-{record.seed}"
    return (
        f"mIoU {values} on {scores.images} validation images.\n\n"
        f"Again: `git checkout {record.code.commit} && dvc repro evaluate@{stage}`"
    )


def _make_common_tags(record: RunStart) -> dict[str, str]:
    code = record.code
    return {
        "profile": record.profile,
        "variant": record.variant,
        "git.commit": str(code.commit),
        "git.dirty": str(code.dirty),
        "dataset.digest": record.dataset.digest,
        "mlflow.source.name": "python -m pipeline train",  # what MLflow's own columns show
        "mlflow.source.type": "PROJECT",
        "mlflow.source.git.commit": str(code.commit),
    }


def _make_tags(record: RunStart, parent_id: str) -> dict[str, str]:
    libraries = {f"library.{name}": v for name, v in record.environment.libraries.items()}
    machine = {name: str(value) for name, value in record.environment if name != "libraries"}
    return {
        **_make_common_tags(record),
        FINGERPRINT: record.fingerprint,
        _PARENT: parent_id,
        "seed": str(record.seed),
        "dvc.stage": f"train@{record.variant}-{record.seed}",
        **machine,
        **libraries,
    }


def _send_settings(
    client: "MlflowClient", run_id: str, config: dict[str, object], dataset: DataVersion
) -> None:
    from mlflow.entities import Dataset, DatasetInput, Param

    client.log_batch(run_id, params=[Param(key, str(value)) for key, value in flatten(config)])
    entry = Dataset(dataset.title, dataset.digest[:36], "local", "prepared by DVC")
    client.log_inputs(run_id, datasets=[DatasetInput(entry)])


def thin_curve(record: RunStart, rows: Rows) -> Rows:
    """Return the rows of a curve that MLflow shows, which are the same iterations of each seed."""
    step = max(1, record.config.train.iterations // _POINTS)
    return [row for row in rows if row["iteration"] % step == 0]


def send_curve(client: "MlflowClient", run_id: str, rows: Rows) -> None:
    """Send loss and learning rate of each row, in batches."""
    from mlflow.entities import Metric

    metrics = [
        Metric(name, row[name], 0, int(row["iteration"])) for row in rows for name in ("loss", "lr")
    ]
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
