"""A variant's page in MLflow: the mean over its seeds, so that two variants can be compared."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from pipeline.common.files import digest, file_digest
from pipeline.common.scores import first
from pipeline.tracking.local import lost
from pipeline.tracking.runs import (
    Rows,
    milliseconds,
    parent,
    send_curve,
    spent,
    thinned,
)
from pipeline.tracking.store import connect, locked

_SUMMARY, _REPORT, _CURVES = "summary", "report.sha256", "curve.seeds"


class Scored(NamedTuple):
    """A finished run."""

    record: dict[str, Any]
    curve: Rows
    scores: dict[str, Any]


def send(runs: Sequence[Scored], report: Path) -> None:
    """Bring the page of the variant of these runs, its seeds, up to date."""
    client, experiment = connect()
    with locked():
        run = parent(client, experiment, runs[0].record)
    run_id = run.info.run_id
    tags = {} if lost(run.info.artifact_uri) else run.data.tags
    shown = [first(run.scores) for run in runs]
    seeds = [run.record["seed"] for run in runs]
    if tags.get(_SUMMARY) != (now := digest([seeds, shown])):
        values = [100 * s["miou"] for s in shown]
        spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
        name = f"{runs[0].record['variant']}: {mean(values):.1f}{spread}"
        client.set_tag(run_id, "mlflow.runName", name)
        told = f"mIoU {mean(values):.2f}{spread} over the seeds {', '.join(map(str, seeds))}."
        client.set_tag(run_id, "mlflow.note.content", told)
        client.log_metric(run_id, "seeds", len(runs))
        client.log_metric(run_id, "seconds", mean(r.record["speed"]["seconds"] for r in runs))
        if spread:
            client.log_metric(run_id, "miou_sd", stdev(values) / 100)
        for metric in ("miou", "pixel_accuracy"):
            client.log_metric(run_id, metric, mean(s[metric] for s in shown))
        client.log_table(run_id, _by_class(shown), f"class_iou_{len(runs)}_seeds.json")
        taken = sum(spent(run.record) for run in runs)
        client.set_terminated(run_id, end_time=milliseconds(runs[0].record) + taken)
        client.set_tag(run_id, _SUMMARY, now)
    if tags.get(_CURVES) != str(seeds):
        send_curve(client, run_id, _mean_curve(runs))
        client.set_tag(run_id, _CURVES, str(seeds))
    if report.exists() and tags.get(_REPORT) != (now := file_digest(report)):
        client.log_artifact(run_id, str(report))
        client.set_tag(run_id, _REPORT, now)


def _mean_curve(runs: Sequence[Scored]) -> Rows:
    """The mean loss over the seeds at the iterations that MLflow shows."""
    curves = [thinned(run.record, run.curve) for run in runs]
    return [
        {name: mean(row[name] for row in rows) for name in ("iteration", "loss", "lr")}
        for rows in zip(*curves, strict=False)
    ]


def _by_class(shown: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    names = list(shown[0]["class_iou"])
    values = [[s["class_iou"][n] for s in shown if s["class_iou"][n] is not None] for n in names]
    return {"class": names, "iou": [mean(v) if v else None for v in values]}
