"""Stage track: bring MLflow up to date with every run of the active profile.

    python -m pipeline.track

Long trainings send their curves while they run; this sends the rest, and all of it again to a
new or lost store. A store that cannot be reached fails nothing: the files are the truth, and the
next `make repro` or `make ui` sends them.
"""

import csv

from pipeline.common import cli, params, tracking
from pipeline.common.files import read_json
from pipeline.common.paths import finished


def main() -> None:
    settings = params.load()
    sent = 0
    for paths in finished(settings):
        with paths.curve.open() as file:
            curve = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        if not tracking.attempt(read_json(paths.record), curve, read_json(paths.scores)):
            return
        sent += 1
    tracking.UNSENT.unlink(missing_ok=True)
    print(f"{sent} runs are in MLflow; `make ui` shows them")


if __name__ == "__main__":
    cli.run(main)
