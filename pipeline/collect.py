"""Stage collect: gather what the runs left in one small file that git keeps.

    python -m pipeline.collect

Writes reports/results.jsonl, a line a run, then a line an imported checkpoint, and to
reports/curves.csv the runs' losses, thinned out. A run counts only if it was trained with the
settings that params.yaml has now and scored on the data that it was trained on, so that a file left
by an earlier setting is never shown as this one; a checkpoint only if it is the file and layout
that params.yaml lists now; both only with scores of the protocols listed now.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.common import cli, params
from pipeline.common.files import read_json, whole_file
from pipeline.common.paths import RunPaths, finished

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
    return (
        config["network"] == settings.network(record["variant"])
        and trained == train
        and scored(settings, scores)
        and scores["dataset_digest"] == record["dataset"]["digest"]
    )


def thinned(curve: Path) -> Iterator[tuple[int, str]]:
    """Iteration and loss, as the file has them to the last digit; at most ROWS and the last one."""
    with curve.open() as file:
        rows = [(int(row["iteration"]), row["loss"]) for row in csv.DictReader(file)]
    step = -(-len(rows) // ROWS)
    return (row for row in rows if row[0] % step == 0 or row is rows[-1])


def main() -> None:
    settings = params.load()
    lines, losses = [], []
    for paths in finished(settings):
        record, scores = read_json(paths.record), read_json(paths.scores)
        if belongs(settings, record, scores):
            run = {"variant": paths.variant, "seed": paths.seed, "scores": scores, "record": record}
            lines.append(json.dumps(run) + "\n")
            losses += [(paths.variant, paths.seed, *row) for row in thinned(paths.curve)]
    runs = len(lines)
    for name, given in settings.checkpoints.items():
        paths = RunPaths(settings.profile, name, None)
        if not paths.is_finished:
            continue
        record, scores = read_json(paths.record), read_json(paths.scores)
        if record["checkpoint"] == given.model_dump() and scored(settings, scores):
            result = {"checkpoint": name, "scores": scores, "record": record}
            lines.append(json.dumps(result) + "\n")
    with whole_file(RESULTS) as partial:
        partial.write_text("".join(lines))
    with whole_file(CURVES) as partial, partial.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["variant", "seed", "iteration", "loss"])
        table.writerows(losses)
    print(f"{runs} of {len(settings.variants) * len(settings.seeds)} runs are measured")


if __name__ == "__main__":
    cli.run(main)
