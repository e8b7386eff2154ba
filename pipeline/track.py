"""Stage track: bring MLflow up to date with every run of the active profile, and the report.

    python -m pipeline.track

Long trainings send their curves while they run; this sends the rest, and all of it again to a
new or lost store. A store that cannot be reached fails nothing: the files are the truth, and the
next `make repro` or `make ui` sends them. A store that will never take them is an error.
"""

import csv
from functools import partial
from pathlib import Path

from pipeline.common import cli, params
from pipeline.common.files import read_json
from pipeline.common.paths import finished
from pipeline.tracking import runs, store, variants

REPORT = Path("reports/index.html")


def main() -> None:
    settings = params.load()
    groups: dict[str, list[variants.Scored]] = {}
    for paths in finished(settings):
        with paths.curve.open(encoding="utf-8") as file:
            curve = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        run = variants.Scored(read_json(paths.record), curve, read_json(paths.scores))
        files = [paths.curve, paths.record, paths.scores, paths.predictions]
        if not store.deliver(partial(runs.send, *run, [f for f in files if f.exists()])):
            return
        groups.setdefault(runs.variant_fingerprint(run.record), []).append(run)
    for group in groups.values():
        if not store.deliver(partial(variants.send, group, REPORT)):
            return
    store.UNSENT.unlink(missing_ok=True)
    print(f"{sum(map(len, groups.values()))} runs are in MLflow; `make ui` shows them")


if __name__ == "__main__":
    cli.run(main)
