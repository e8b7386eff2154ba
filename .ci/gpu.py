"""Check and measure this project on a GPU, in steps of at most ten minutes.

    PYTHONPATH=. python .ci/gpu.py FOLDER [STEP ...]      all steps, about forty minutes

    tests       values and gradients against the CPU, the same bits twice, no waits for the device
    steps       a training step of each profile at full size: milliseconds, memory, memory by plan
    efficiency  the blocks' table at the paper's sizes
    networks    the networks' table
    repro       the embedded experiment with one seed, killed once on the way
    camvid      two rows of CamVid with one seed, if `data.camvid` in params.yaml has its folder

What a step measures goes to FOLDER, in the form that reports/ has. Each step runs in a clone of the
commit that is checked out, with this params.yaml. A step that fails or takes longer is named at the
end.
"""

import argparse
import contextlib
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.engine import yaml_file

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 600.0  # seconds of a step
PROFILES = ("embedded", "camvid", "cityscapes", "ade20k", "pascal_context")


@contextlib.contextmanager
def cloned() -> Iterator[Path]:
    """Clone the repository, with the params.yaml that is here."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", ROOT, path], check=True)
        shutil.copy(ROOT / "params.yaml", path)
        yield path


def run(folder: Path, *words: str, limit: float = LIMIT) -> int:
    """Run a command of this Python's environment; return its exit status."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": programs, "PYTHONPATH": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true"}
    print("$", *words, flush=True)
    return subprocess.run(words, cwd=folder, env=os.environ | own, timeout=limit).returncode


def choose_one_seed(folder: Path) -> None:
    """Let a clone train the first seed alone."""
    file = folder / "params.yaml"
    text = yaml_file.replace_values(file.read_text(encoding="utf-8"), {"seeds": [0]})
    file.write_text(text, encoding="utf-8")


def check_tests(clone: Path, out: Path) -> int:
    """Run the tests that need a GPU."""
    return run(
        clone, "python", "-m", "pytest", "-n", "0", "tests/test_gpu.py", "tests/test_sync_norm.py"
    )


def measure_steps(clone: Path, out: Path) -> int:
    """Measure in a process of its own, so that its memory is free afterwards."""
    return run(clone, "python", str(Path(__file__).resolve()), str(out.resolve()), "_steps")


def measure_efficiency(clone: Path, out: Path) -> int:
    """Measure the blocks."""
    status = run(clone, "python", "-m", "pipeline", "efficiency", "gpu")
    shutil.copy(clone / "reports/efficiency/gpu.json", out / "efficiency.json")
    return status


def measure_networks(clone: Path, out: Path) -> int:
    """Measure the networks of the embedded profile and of Cityscapes."""
    status = run(clone, "python", "-m", "pipeline", "networks")
    shutil.copy(clone / "reports/embedded/networks.json", out / "networks.json")
    return status


def reproduce(clone: Path, out: Path) -> int:
    """Run the embedded experiment with one seed; kill it after two minutes, and let it resume."""
    choose_one_seed(clone)
    begin = time.monotonic()
    with contextlib.suppress(subprocess.TimeoutExpired):
        run(clone, "python", "-m", "pipeline", "repro", limit=120)
    status = run(clone, "python", "-m", "pipeline", "repro", limit=LIMIT - 120)
    print(f"make repro took {time.monotonic() - begin:.0f} s with one kill", flush=True)
    shutil.copy(clone / "reports/results/embedded.jsonl", out / "embedded.jsonl")
    return status


def train_camvid(clone: Path, out: Path) -> int:
    """Train two rows of CamVid."""
    status = run(clone, "python", "-m", "pipeline", "use", "camvid")
    if status:
        print("data.camvid in params.yaml says null; this step is left out", flush=True)
        return 0
    choose_one_seed(clone)
    status = run(clone, "dvc", "repro", "evaluate@baseline-0", "evaluate@apnb-0")
    for name in ("baseline", "apnb"):
        shutil.copy(clone / f"runs/camvid/{name}-0/scores.json", out / f"camvid-{name}.json")
    return status


def time_steps(out: Path) -> None:
    """Write milliseconds and memory of a training step of ANN, for each profile."""
    import torch

    from pipeline.data import formats
    from pipeline.engine.precision import resolve_precision
    from pipeline.measuring import clock
    from pipeline.measuring.counting import training_needs
    from pipeline.settings import params
    from pipeline.stages import networks, plan

    settings, rows = params.load(), []
    for profile in PROFILES:
        own = settings.profiles[profile]
        classes = len(formats.DATASETS[own.dataset].classes)
        network = settings.resolve_network("ann", profile) | {"weights": None}
        train, cached = own.train, own.features.cache
        need = training_needs(network, classes, train, {}, cached)
        job = networks.Job(
            profile=profile,
            variant="ann",
            size=train.augment.crop,
            batch=train.batch_size,
            network=network,
            classes=classes,
            train=train,
            repeats=10,
            seconds=20.0,
            cached=cached,
            call="step",
            device="cuda",
        )
        for batch in sorted({2, train.largest_part}):
            part = train.model_copy(update={"batch_size": batch, "micro_batch": None})
            precision = resolve_precision(train.precision, torch.device("cuda"))
            clock.set_up_torch(train.threads, "cuda", precision, train.deterministic)
            call = networks.make_call(replace(job, batch=batch, train=part), job.size)
            call()
            torch.cuda.reset_peak_memory_stats()
            measured = clock.measure(call, "cuda", repeats=10, seconds=20.0)
            row = {
                "profile": profile,
                "batch": batch,
                "milliseconds": round(1000 * measured.seconds, 1),
                "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2),
                "plan_gb": round(plan.predict(settings.plan, part, need)[1] / 1e9, 2),
            }
            print(row, flush=True)
            rows.append(row)
            del call
            gc.collect()
            torch.cuda.empty_cache()
    (out / "steps.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


STEPS = {
    "tests": check_tests,
    "steps": measure_steps,
    "efficiency": measure_efficiency,
    "networks": measure_networks,
    "repro": reproduce,
    "camvid": train_camvid,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("steps", nargs="*", metavar="STEP")
    arguments = parser.parse_args()
    names, out = arguments.steps or list(STEPS), arguments.folder
    if names == ["_steps"]:
        time_steps(out)
        return 0
    if unknown := [name for name in names if name not in STEPS]:
        parser.error(f"STEP must be one of {', '.join(STEPS)}, got {unknown[0]}")
    out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in names:
        begin = time.monotonic()
        try:
            with cloned() as clone:
                status = STEPS[name](clone, out)
        except (subprocess.TimeoutExpired, OSError) as error:
            print(error, flush=True)
            status = 1
        print(f"== {name}: {time.monotonic() - begin:.0f} s, exit status {status}", flush=True)
        failed += [name] if status else []
    print(f"failed: {', '.join(failed) or 'nothing'}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
