"""Command verify: does this machine train the committed network again?

    python -m pipeline.verify [VARIANT SEED]

Retrains one run of the committed tables, ann with the first seed if none is named, by the working
tree's code and settings: the scenes are drawn, prepared and trained on in a temporary folder, so
that nothing here is read from a cache or changed. The weights' digest and the learning curve are
then held against those in the last commit's reports/.

    identical   the weights and every committed loss are the same, bit for bit
    within      not so, but the curve is in the band: each loss committed of the first EARLY
                iterations differs by at most NEAR of it, and the mean of the last tenth by FAR
    outside     neither; the exit status is 1

The band is measured, on the embedded profile, where three seeds' runs were repeated with two
threads, in float32, and in float32 by AVX2 alone: early losses moved by up to 0.6 % and the end by
up to 8.5 %. Another seed moves early losses by 2.3 to 4.7 %, a learning rate a tenth higher by 3.1
to 4.2 %. So an early loss tells another training from other last digits; the end, where rounding
has grown into another course, tells only that the training went as well.

It is always the embedded profile's run, whatever params.yaml trains: it needs no dataset and is
short.
"""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.collect import CURVES, RESULTS
from pipeline.common import cli, params, provenance, warm, yaml_file
from pipeline.common.files import flat, read_json
from pipeline.common.paths import RunPaths

PROFILE = "embedded"
REFERENCE = "ann"
EARLY = 20  # iterations: the losses that NEAR is for
NEAR, FAR = 0.015, 0.15
NEEDED = ("ann", "contexts", "pipeline", "params.yaml", "requirements.lock")
STAGES = ("check", "scene", "prepare", "train")

Curve = Mapping[int, float]  # loss by iteration


def committed(variant: str | None, seed: str | None) -> tuple[dict[str, Any], Curve]:
    """The record and the curve that the last commit has of a run."""
    runs = [json.loads(line) for line in _committed(RESULTS).splitlines()]
    runs = [
        run for run in runs if run.get("record", {}).get("profile") == PROFILE and "seed" in run
    ]
    wanted = (variant or REFERENCE, seed)
    for run in runs:
        if run["variant"] == wanted[0] and wanted[1] in (None, str(run["seed"])):
            if "weights_sha256" not in run["record"]:
                raise cli.InputError(f"{RESULTS} has no digest of the weights; commit a new one")
            return run["record"], _curve(run["variant"], run["seed"])
    known = ", ".join(f"{run['variant']} {run['seed']}" for run in runs) or "none"
    raise cli.InputError(
        f"the last commit's {RESULTS} has no run {' '.join(filter(None, wanted))} of the {PROFILE} "
        f"profile; it has {known}"
    )


def _committed(file: Path) -> str:
    done = subprocess.run(
        ["git", "show", f"HEAD:./{file.as_posix()}"],
        capture_output=True,
        encoding="utf-8",
    )
    if done.returncode:
        raise cli.InputError(f"{file} is not in the last commit: {done.stderr.strip()}")
    return done.stdout


def _curve(variant: str, seed: int) -> Curve:
    rows = csv.DictReader(io.StringIO(_committed(CURVES)))
    own = [row for row in rows if (row["variant"], row["seed"]) == (variant, str(seed))]
    return {int(row["iteration"]): float(row["loss"]) for row in own}


def retrain(variant: str, seed: int) -> tuple[dict[str, Any], Curve]:
    """The record and the curve of the same run, trained from nothing by the working tree."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for needed in map(Path, NEEDED):
            copy = shutil.copytree if needed.is_dir() else shutil.copy
            copy(needed, folder / needed)
        settings = yaml_file.read(params.PARAMS_FILE)
        settings |= {"profile": PROFILE, "dataset_dir": str(params.EMBEDDED), "checkpoints": {}}
        yaml_file.write(folder / params.PARAMS_FILE, settings)
        hidden = (warm.VARIABLE, "MLFLOW_TRACKING_URI")
        environment = {k: v for k, v in os.environ.items() if k not in hidden}
        for stage in STAGES:
            words = [variant, str(seed)] if stage == "train" else []
            command = [sys.executable, "-m", f"pipeline.{stage}", *words]
            if subprocess.run(command, cwd=folder, env=environment).returncode:
                raise cli.InputError(f"the stage {stage} failed; its message stands above")
        paths = RunPaths(PROFILE, variant, seed)
        with (folder / paths.curve).open(encoding="utf-8") as file:
            curve = {int(row["iteration"]): float(row["loss"]) for row in csv.DictReader(file)}
        return read_json(folder / paths.record), curve


def apart(reference: Curve, curve: Curve) -> tuple[float, float]:
    """By how much of it the early losses differ at most, and the mean of the last tenth."""
    if not reference or not reference.keys() <= curve.keys() or max(reference) != max(curve):
        raise cli.InputError("outside: the curve has other iterations than the committed one")
    shared = sorted(reference)
    early = max(
        abs(curve[i] - reference[i]) / abs(reference[i])
        for i in shared
        if i <= max(EARLY, shared[0])
    )
    last = shared[-max(1, len(shared) // 10) :]
    mean, other = (sum(c[i] for i in last) / len(last) for c in (reference, curve))
    return early, abs(other - mean) / abs(mean)


def differences(reference: dict[str, Any], record: dict[str, Any]) -> Iterator[str]:
    """What of settings, data, code and machine is not as it was committed."""
    ours, theirs = (dict(_facts(r)) for r in (record, reference))
    for key in theirs | ours:
        if theirs.get(key) != ours.get(key):
            committed, here = (facts.get(key, "not recorded") for facts in (theirs, ours))
            yield f"{key}: committed {committed}, here {here}"


def _facts(record: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    kept = {k: record[k] for k in ("config", "dataset", "environment")}
    kept["code of the training"] = record["code"].get("digest")
    yield from flat(kept)


def main() -> None:
    words = sys.argv[1:]
    if len(words) not in (0, 2):
        raise cli.InputError("usage: python -m pipeline.verify [VARIANT SEED]")
    params.load()
    reference, committed_curve = committed(*(words or (None, None)))
    name = f"{reference['variant']}-{reference['seed']}"
    record, curve = retrain(reference["variant"], reference["seed"])
    told = list(differences(reference, record))
    here = provenance.code_version()
    at, now = provenance.told(reference["code"]), provenance.told(here)
    print(f"{name}: committed at {at}, retrained at {now}")
    print("\n".join(f"  {line}" for line in told) or "  settings, data, code and machine are equal")
    if record["weights_sha256"] == reference["weights_sha256"] and all(
        curve.get(i) == loss for i, loss in committed_curve.items()
    ):
        print(f"{name}: identical; the weights and {len(committed_curve)} losses, bit for bit")
        return
    early, late = apart(committed_curve, curve)
    measured = (
        f"losses of the first {EARLY} iterations are up to {100 * early:.2f} % apart (allowed "
        f"{100 * NEAR:g} %), the mean of the last tenth {100 * late:.1f} % ({100 * FAR:g} %)"
    )
    if not (early <= NEAR and late <= FAR):
        raise cli.InputError(f"{name}: outside the band; {measured}")
    print(f"{name}: within the band; {measured}")


if __name__ == "__main__":
    cli.run(main)
