"""Stage collect: gather what the runs left in one small file that git keeps.

    python -m pipeline.collect

Writes reports/results.jsonl: a line a run, a line an imported checkpoint, a line a run that failed;
and the runs' losses, thinned out, to reports/curves.csv. A run counts only if it was trained with
the settings that params.yaml has now and scored on the data that it was trained on, so that a file
left by an earlier setting is never shown as this one; a checkpoint only if it is the file and
layout that params.yaml lists now; both only with scores of the protocols listed now.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.common import cli, params, provenance
from pipeline.common.failures import settings_of
from pipeline.common.files import read_json, whole_file
from pipeline.common.paths import RunPaths, runs

RESULTS = Path("reports/results.jsonl")
CURVES = Path("reports/curves.csv")
ROWS = 100  # of a run in CURVES, evenly spaced; the last iteration comes on top


def scored(settings: params.Params, scores: dict[str, Any]) -> bool:
    """Whether the scores are of the protocols of params.yaml, in their order."""
    return list(scores.get("protocols", [])) == settings.active.evaluate.protocols


def belongs(settings: params.Params, record: dict[str, Any], scores: dict[str, Any]) -> bool:
    """Whether a run is the one that params.yaml describes."""
    config = record["config"]
    train = settings.active.train.model_dump(mode="json", exclude={"precision"})
    trained = {k: v for k, v in config["train"].items() if k != "precision"}
    weights = provenance.weights_digest(config["network"]["weights"])
    return (
        config["network"] == settings.network(record["variant"])
        and weights in (None, record.get("backbone_sha256"))  # the file itself is not asked for
        and trained == train
        and scored(settings, scores)
        and scores["dataset_digest"] == record["dataset"]["digest"]
    )


def thinned(curve: Path) -> Iterator[tuple[int, str]]:
    """Iteration and loss, as the file has them to the last digit; at most ROWS and the last one."""
    with curve.open(encoding="utf-8") as file:
        rows = [(int(row["iteration"]), row["loss"]) for row in csv.DictReader(file)]
    step = -(-len(rows) // ROWS)
    return (row for row in rows if row[0] % step == 0 or row is rows[-1])


def failed(settings: params.Params, paths: RunPaths) -> dict[str, Any] | None:
    """The line of a run that failed with the settings that params.yaml has now."""
    if not paths.failure.exists():
        return None
    told = read_json(paths.failure)
    if told["settings"] != settings_of(settings, paths.variant, told["stage"]):
        return None
    return {"failed": paths.variant} | {k: told[k] for k in ("seed", "stage", "reason", "at")}


def main() -> None:
    settings = params.load()
    lines, losses, failures = [], [], []
    for paths in runs(settings):
        if paths.is_finished:
            record, scores = read_json(paths.record), read_json(paths.scores)
            if belongs(settings, record, scores):
                told = {"variant": paths.variant, "seed": paths.seed}
                lines.append(json.dumps({**told, "scores": scores, "record": record}) + "\n")
                losses += [(*told.values(), *row) for row in thinned(paths.curve)]
                continue
        if failure := failed(settings, paths):
            failures.append(json.dumps(failure) + "\n")
    measured = len(lines)
    for name, given in settings.checkpoints.items():
        paths = RunPaths(settings.profile, name, None)
        if not paths.is_finished:
            continue
        record, scores = read_json(paths.record), read_json(paths.scores)
        if record["checkpoint"] == given.model_dump() and scored(settings, scores):
            result = {"checkpoint": name, "scores": scores, "record": record}
            lines.append(json.dumps(result) + "\n")
    with whole_file(RESULTS) as partial:
        partial.write_text("".join(lines + failures), encoding="utf-8")
    with whole_file(CURVES) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["variant", "seed", "iteration", "loss"])
        table.writerows(losses)
    more = f", {len(failures)} failed" if failures else ""
    total = len(settings.variants) * len(settings.seeds)
    print(f"{measured} of {total} runs are measured{more}")


if __name__ == "__main__":
    cli.run(main)
