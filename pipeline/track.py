"""Stage track: bring MLflow up to date with every run of the active profile.

    python -m pipeline.track

Long trainings send their curves while they run; this sends the rest, and all of it again to a
new or lost store. A store that cannot be reached fails nothing: the files are the truth.
"""

import csv
import sys

from pipeline.common import cli, params, tracking
from pipeline.common.files import read_json
from pipeline.common.paths import RunPaths


def main() -> None:
    settings = params.load()
    sent = 0
    for variant in settings.variants:
        for seed in settings.seeds:
            paths = RunPaths(settings.profile, variant, seed)
            if not (paths.record.exists() and paths.scores.exists()):
                continue
            curve: list[dict[str, float]] = []
            if paths.curve.exists():  # not in a clone that holds the small files only
                with paths.curve.open() as file:
                    curve = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
            try:
                tracking.send(read_json(paths.record), curve, read_json(paths.scores))
            except Exception as error:  # whatever the store's fault is, the numbers are safe
                print(f"MLflow cannot be reached, nothing is lost: {error}", file=sys.stderr)
                return
            sent += 1
    print(f"{sent} runs are in MLflow; `make ui` shows them")


if __name__ == "__main__":
    cli.run(main)
