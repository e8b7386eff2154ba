"""Retrain one committed run on this machine, and compare it with the committed one.

    python -m pipeline verify [VARIANT] [SEED]

Without arguments it retrains ann with the first seed. It uses the code and the settings of the
working tree. It draws, prepares and trains in a temporary folder, so it reads no cache and changes
no file. Then it compares the weights' digest and the learning curve with the last commit's
reports/.

    identical   the weights and every committed loss are the same, bit for bit
    within      the curve is in the band of rounding, see pipeline.reporting.band
    outside     neither; the exit status is 1

The run is always the embedded profile's, whatever params.yaml trains, because it needs no dataset
and is short.
"""

import csv
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.engine import errors, provenance, yaml_file
from pipeline.engine.files import flatten
from pipeline.reporting.band import EARLY, FAR, NEAR, Curve, is_within, measure_differences
from pipeline.settings import params, paths, records
from pipeline.settings.paths import ReportPaths, RunPaths
from pipeline.settings.records import RunLine, RunRecord

PROFILE = "embedded"
REPORTS = ReportPaths(PROFILE)
REFERENCE = "ann"
SOURCES = (
    "ann",
    "contexts",
    "pipeline",
    "params.yaml",
    "reports/claims.yaml",
    "reports/published.yaml",
    "requirements.lock",
)
STAGES = ("check", "scene", "prepare", "train")


def read_committed(variant: str, seed: int | None) -> tuple[RunRecord, Curve]:
    """Return the record and the curve of a run in the last commit.

    Args:
        variant: The variant's name.
        seed: The seed; without one, the first that was committed.

    Raises:
        InputError: The last commit has no such run.
    """
    lines = records.read_lines(_read_committed_file(REPORTS.results), REPORTS.results)
    runs = [r for r in lines if isinstance(r, RunLine) and r.record.profile == PROFILE]
    for run in runs:
        if run.variant == variant and seed in (None, run.seed):
            return run.record, _read_committed_curve(run.variant, run.seed)
    available = ", ".join(f"{run.variant} {run.seed}" for run in runs) or "none"
    name = variant if seed is None else f"{variant} {seed}"
    raise errors.InputError(
        f"the last commit's {REPORTS.results} has no run {name} of the {PROFILE} profile; it has "
        f"{available}"
    )


def _read_committed_file(file: Path) -> str:
    process = subprocess.run(
        ["git", "show", f"HEAD:./{file.as_posix()}"],
        capture_output=True,
        encoding="utf-8",
    )
    if process.returncode:
        raise errors.InputError(f"{file} is not in the last commit: {process.stderr.strip()}")
    return process.stdout


def _read_committed_curve(variant: str, seed: int) -> Curve:
    rows = csv.DictReader(io.StringIO(_read_committed_file(REPORTS.curves)))
    own = [row for row in rows if (row["variant"], row["seed"]) == (variant, str(seed))]
    return {int(row["iteration"]): float(row["loss"]) for row in own}


def retrain(variant: str, seed: int) -> tuple[RunRecord, Curve]:
    """Train a run with the working tree's code, and return its record and curve."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source in map(Path, SOURCES):
            copy = shutil.copytree if source.is_dir() else shutil.copy
            (folder / source).parent.mkdir(exist_ok=True)
            copy(source, folder / source)
        settings = yaml_file.read_yaml(paths.PARAMS_FILE)
        settings |= {
            "profile": PROFILE,
            "dataset_dir": str(paths.EMBEDDED),
            "data": settings["data"] | {paths.EMBEDDED.name: str(paths.EMBEDDED)},
            "rows": [variant],
            "seeds": [seed],
            "checkpoints": {},
        }
        yaml_file.write_yaml(folder / paths.PARAMS_FILE, settings)
        environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
        for stage in STAGES:
            words = [variant, str(seed)] if stage == "train" else []
            command = [sys.executable, "-m", "pipeline", stage, *words]
            if subprocess.run(command, cwd=folder, env=environment).returncode:
                raise errors.InputError(f"the stage {stage} failed; its message is above")
        own = RunPaths(PROFILE, variant, seed)
        with (folder / own.curve).open(encoding="utf-8") as file:
            curve = {int(row["iteration"]): float(row["loss"]) for row in csv.DictReader(file)}
        return records.read(RunRecord, folder / own.record), curve


def list_differences(reference: RunRecord, record: RunRecord) -> Iterator[str]:
    """Yield a line for each difference in settings, data, code and machine."""
    ours, theirs = (dict(_list_facts(r)) for r in (record, reference))
    for key in theirs | ours:
        if theirs.get(key) != ours.get(key):
            before, here = (facts.get(key, "not recorded") for facts in (theirs, ours))
            yield f"{key}: committed {before}, here {here}"


def _list_facts(record: RunRecord) -> Iterator[tuple[str, object]]:
    facts = record.model_dump(mode="json", include={"config", "dataset", "environment"})
    facts["code of the training"] = record.code.digest
    yield from flatten(facts)


def main(variant: str = REFERENCE, seed: int | None = None) -> None:
    params.load()
    reference, committed_curve = read_committed(variant, seed)
    name = f"{reference.variant}-{reference.seed}"
    record, curve = retrain(reference.variant, reference.seed)
    differences = list(list_differences(reference, record))
    at = provenance.describe_code(reference.code.commit, reference.code.dirty)
    now = provenance.describe_code(**provenance.read_code_version())
    print(f"{name}: committed at {at}, retrained at {now}")
    lines = "\n".join(f"  {line}" for line in differences)
    print(lines or "  settings, data, code and machine are equal")
    if record.weights_sha256 == reference.weights_sha256 and all(
        curve.get(i) == loss for i, loss in committed_curve.items()
    ):
        print(f"{name}: identical; the weights and {len(committed_curve)} losses, bit for bit")
        return
    early, late = measure_differences(committed_curve, curve)
    distances = (
        f"losses of the first {EARLY} iterations are up to {100 * early:.2f} % apart (allowed "
        f"{100 * NEAR:g} %), the mean of the last tenth {100 * late:.1f} % ({100 * FAR:g} %)"
    )
    if not is_within(early, late):
        raise errors.InputError(f"{name}: outside the band; {distances}")
    print(f"{name}: within the band; {distances}")
