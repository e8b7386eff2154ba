"""Write the page of a variant in MLflow: the mean over its seeds, for comparisons."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from pipeline.engine.files import digest, digest_file
from pipeline.settings.records import ProtocolScores, RunRecord, Scores
from pipeline.tracking.local import is_lost
from pipeline.tracking.runs import (
    Rows,
    compute_duration,
    compute_start,
    get_parent,
    send_curve,
    thin_curve,
)
from pipeline.tracking.store import connect, hold_lock

_SUMMARY, _REPORT, _CURVES = "summary", "report.sha256", "curve.seeds"


class ScoredRun(NamedTuple):
    """A finished run."""

    record: RunRecord
    curve: Rows
    scores: Scores


def send(runs: Sequence[ScoredRun], report: Path) -> None:
    """Bring the page of a variant up to date.

    Args:
        runs: The variant's finished runs, one for each seed.
        report: The report's page, which is attached if it exists.
    """
    client, experiment = connect(runs[0].record.profile)
    with hold_lock():
        run = get_parent(client, experiment, runs[0].record)
    run_id = run.info.run_id
    tags = {} if is_lost(run.info.artifact_uri) else run.data.tags
    scores = [run.scores.first for run in runs]
    seeds = [run.record.seed for run in runs]
    if tags.get(_SUMMARY) != (now := digest([seeds, [s.model_dump(mode="json") for s in scores]])):
        values = [100 * s.miou for s in scores]
        spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
        name = f"{runs[0].record.variant}: {mean(values):.1f}{spread}"
        client.set_tag(run_id, "mlflow.runName", name)
        note = f"mIoU {mean(values):.2f}{spread} over the seeds {', '.join(map(str, seeds))}."
        client.set_tag(run_id, "mlflow.note.content", note)
        client.log_metric(run_id, "seeds", len(runs))
        client.log_metric(run_id, "seconds", mean(r.record.speed.seconds for r in runs))
        if spread:
            client.log_metric(run_id, "miou_sd", stdev(values) / 100)
        for metric in ("miou", "pixel_accuracy"):
            client.log_metric(run_id, metric, mean(getattr(s, metric) for s in scores))
        client.log_table(run_id, _tabulate_classes(scores), f"class_iou_{len(runs)}_seeds.json")
        duration = sum(compute_duration(run.record) for run in runs)
        client.set_terminated(run_id, end_time=compute_start(runs[0].record) + duration)
        client.set_tag(run_id, _SUMMARY, now)
    if tags.get(_CURVES) != str(seeds):
        send_curve(client, run_id, _average_curves(runs))
        client.set_tag(run_id, _CURVES, str(seeds))
    if report.exists() and tags.get(_REPORT) != (now := digest_file(report)):
        client.log_artifact(run_id, str(report))
        client.set_tag(run_id, _REPORT, now)


def _average_curves(runs: Sequence[ScoredRun]) -> Rows:
    """Return the mean over the seeds at the iterations that MLflow shows."""
    curves = [thin_curve(run.record, run.curve) for run in runs]
    return [
        {name: mean(row[name] for row in rows) for name in ("iteration", "loss", "lr")}
        for rows in zip(*curves, strict=False)
    ]


def _tabulate_classes(scores: Sequence[ProtocolScores]) -> dict[str, list[Any]]:
    names = list(scores[0].class_iou)
    values = [[x for s in scores if (x := s.class_iou[n]) is not None] for n in names]
    return {"class": names, "iou": [mean(v) if v else None for v in values]}
