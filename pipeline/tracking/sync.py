"""Bring MLflow up to date with every run of the active profile, and the report."""

import csv
from functools import partial

from pipeline.settings import records
from pipeline.settings.paths import UNSENT, ReportPaths
from pipeline.settings.records import RunRecord, Scores
from pipeline.settings.runs import list_finished
from pipeline.settings.schema import Params
from pipeline.tracking import runs, store, variants


def send_all(settings: Params) -> None:
    """Send every finished run of the active profile, and the report."""
    page = ReportPaths(settings.profile).page
    runs_of_variant: dict[str, list[variants.ScoredRun]] = {}
    for paths in list_finished(settings):
        with paths.curve.open(encoding="utf-8") as file:
            curve = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        record, scores = records.read(RunRecord, paths.record), records.read(Scores, paths.scores)
        run = variants.ScoredRun(record, curve, scores)
        files = [paths.curve, paths.record, paths.scores, paths.predictions]
        if not store.deliver(partial(runs.send, *run, [f for f in files if f.exists()])):
            return
        runs_of_variant.setdefault(runs.fingerprint_variant(run.record), []).append(run)
    for group in runs_of_variant.values():
        if not store.deliver(partial(variants.send, group, page)):
            return
    UNSENT.unlink(missing_ok=True)
    print(f"{sum(map(len, runs_of_variant.values()))} runs are in MLflow; `make ui` shows them")
