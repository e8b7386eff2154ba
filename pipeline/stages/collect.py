"""Stage collect: collect the results of all runs in one small file that git keeps.

    python -m pipeline collect

It writes reports/results/PROFILE.jsonl, with a line for each run, imported checkpoint and failed
run, and some of the runs' losses to reports/PROFILE/curves.csv. Results of earlier settings do
not count:

- A run counts if params.yaml still has the settings of its training, and if it was scored on the
  data that it was trained on.
- A checkpoint counts if params.yaml still lists its file and its layout.
- Both count only with scores of the protocols that params.yaml lists now.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from pipeline.engine.errors import InputError
from pipeline.engine.files import whole_file
from pipeline.engine.weight_files import digest_weights
from pipeline.settings import params, records, schema
from pipeline.settings.inputs import of_run
from pipeline.settings.paths import ReportPaths, RunPaths
from pipeline.settings.records import (
    CheckpointLine,
    CheckpointRecord,
    Failure,
    FailureLine,
    Line,
    RunLine,
    RunRecord,
    Scores,
)
from pipeline.settings.runs import has_current_settings, list_runs

ROWS = 100  # of a run in curves.csv, evenly spaced, and the last iteration


def has_current_protocols(settings: schema.Params, scores: Scores) -> bool:
    """Tell whether the scores are of the protocols of params.yaml, in their order."""
    return list(scores.protocols) == settings.active.evaluate.protocols


def is_current(settings: schema.Params, record: RunRecord, scores: Scores) -> bool:
    """Tell whether a run is the one that params.yaml describes."""
    network = record.config.network
    weights = digest_weights(network["backbone"], network["weights"])
    return (
        has_current_settings(settings, record)
        and weights in (None, record.backbone_sha256)  # the file may be missing
        and has_current_protocols(settings, scores)
        and scores.dataset_digest == record.dataset.digest
    )


def thin_curve(curve: Path) -> Iterator[tuple[int, str]]:
    """Yield iteration and loss, with all digits of the file: at most ROWS rows and the last one."""
    with curve.open(encoding="utf-8") as file:
        rows = [(int(row["iteration"]), row["loss"]) for row in csv.DictReader(file)]
    step = -(-len(rows) // ROWS)
    return (row for row in rows if row[0] % step == 0 or row is rows[-1])


def read_failure(settings: schema.Params, paths: RunPaths) -> FailureLine | None:
    """Return the line of a run that failed with the current settings, or None."""
    if not paths.failure.exists():
        return None
    failure = records.read(Failure, paths.failure)
    if failure.inputs != of_run(settings, failure.stage, paths.variant):
        return None
    return FailureLine(
        version=1,
        kind="failure",
        variant=failure.variant,
        seed=failure.seed,
        stage=failure.stage,
        reason=failure.reason,
        at=failure.at,
    )


def read_run(settings: schema.Params, paths: RunPaths) -> RunLine | None:
    """Return the line of a finished run that params.yaml describes, or None."""
    if not paths.is_finished:
        return None
    record, scores = records.read(RunRecord, paths.record), records.read(Scores, paths.scores)
    if not is_current(settings, record, scores):
        return None
    return RunLine(
        version=1,
        kind="run",
        variant=record.variant,
        seed=record.seed,
        scores=scores,
        record=record,
    )


def read_checkpoint(settings: schema.Params, name: str) -> CheckpointLine | None:
    """Return the line of a checkpoint that is scored as params.yaml lists it, or None."""
    paths = RunPaths(settings.profile, name, None)
    if not paths.is_finished:
        return None
    record = records.read(CheckpointRecord, paths.record)
    scores = records.read(Scores, paths.scores)
    if record.checkpoint != settings.checkpoints[name] or not has_current_protocols(
        settings, scores
    ):
        return None
    return CheckpointLine(
        version=1, kind="checkpoint", checkpoint=name, scores=scores, record=record
    )


def _holds_runs(file: Path) -> bool:
    return file.exists() and any(
        line.kind == "run" for line in records.read_lines(file.read_text(encoding="utf-8"), file)
    )


def main() -> None:
    settings = params.load()
    finished: list[RunLine] = []
    failures: list[FailureLine] = []
    losses = []
    for paths in list_runs(settings):
        if run := read_run(settings, paths):
            finished.append(run)
            losses += [(run.variant, run.seed, *row) for row in thin_curve(paths.curve)]
        elif failure := read_failure(settings, paths):
            failures.append(failure)
    checkpoints = [read_checkpoint(settings, name) for name in settings.checkpoints]
    lines: list[Line] = [*finished, *filter(None, checkpoints), *failures]
    own = ReportPaths(settings.profile)
    if not lines and _holds_runs(own.results):
        raise InputError(
            f"{own.results} would lose its runs, because none with these settings is here; run "
            f"`dvc repro` to train them, or remove the file"
        )
    records.write_lines(own.results, lines)
    with whole_file(own.curves) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["variant", "seed", "iteration", "loss"])
        table.writerows(losses)
    more = f", {len(failures)} failed" if failures else ""
    total = len(settings.rows) * len(settings.seeds)
    print(f"{len(finished)} of {total} runs are measured{more}")
