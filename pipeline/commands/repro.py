"""Run everything that is not up to date, runs side by side, under one progress line.

    python -m pipeline repro [--jobs N]

It runs the same stages as `dvc repro`, with the same results. If you stop or kill it, the next one
resumes. What each stage prints is in logs/.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from pipeline.engine import forks, gpus
from pipeline.engine.cores import count_cores
from pipeline.engine.dvc import Stages
from pipeline.engine.errors import InputError
from pipeline.engine.files import read_json
from pipeline.engine.mend import DVC_LOCK, mend, try_lock
from pipeline.engine.schedule import Schedule
from pipeline.settings import params
from pipeline.settings.paths import INDEX, LOGS, PLAN, REPRO_LOCK, UNSENT, ReportPaths
from pipeline.settings.schema import Params


def main(jobs: int | None = None) -> None:
    settings = params.load()
    jobs = default_jobs(settings) if jobs is None else jobs
    if jobs < 1:
        raise InputError(f"--jobs must be 1 or more, got {jobs}")
    with only_one():
        forks.warm_up()
        name_holder()
        mend()
        reproduce(settings, jobs)
    print_results(settings)


@contextmanager
def only_one() -> Iterator[None]:
    """Refuse to run beside another `repro` in the same folder."""
    with try_lock(REPRO_LOCK) as (is_free, file):
        if not is_free:
            file.seek(0)
            raise InputError(
                f"another `repro` runs here (process {file.read().strip() or 'unknown'}); wait for "
                f"its end or stop it"
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def name_holder() -> None:
    """Say which other DVC command holds the repository, because DVC waits in silence."""
    with try_lock(DVC_LOCK) as (is_free, file):
        if is_free:
            return
        file.seek(0)
        print(
            f"another DVC command (process {file.read().strip() or 'unknown'}) holds the lock "
            f"{DVC_LOCK}; waiting for its end",
            file=sys.stderr,
        )


def default_jobs(settings: Params) -> int:
    """Return one run for each GPU, or as many as the cores hold at the profile's threads."""
    return usable_gpus() or max(1, count_cores() // settings.active.train.threads)


def usable_gpus() -> int:
    """Count the GPUs that PyTorch can use, and say so where the system has more."""
    if not (listed := len(gpus.list_names())):
        return 0
    code = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="ascii")
    usable = int(done.stdout) if done.stdout.strip().isdecimal() else 0
    if usable < listed:
        print(gpus.describe_unusable(listed, usable), file=sys.stderr)
    return usable


def reproduce(settings: Params, jobs: int) -> None:
    """Run all that is stale.

    Raises:
        InputError: Stages failed. All others are kept.
    """
    stages, networks = Stages(), f"networks@{settings.profile}"
    schedule = Schedule(
        stages,
        jobs,
        frozenset({"efficiency", networks}),  # they measure time
        partial(rank, settings),
        gpus.list_names(),
        LOGS,
        "plan",
        lambda name: print_plan(settings, stages) if name == "plan" else None,
    )
    schedule.work()
    refuse(schedule.failures)
    if networks in schedule.ran:  # the plan came before it, and can now say what was measured
        run_again(stages, "plan")
    elif UNSENT.exists() and "track" not in schedule.ran:
        run_again(stages, "track")


def refuse(failures: Mapping[str, str]) -> None:
    """Say which stages failed and why."""
    if len(failures) == 1:
        for name, reason in failures.items():
            raise InputError(f"{name}: {reason}")
    for name, reason in sorted(failures.items()):
        print(f"{name}: {reason}", file=sys.stderr)
    if failures:
        raise InputError(f"{len(failures)} stages failed, see {LOGS}; all that was done is kept")


def rank(settings: Params, name: str) -> int:
    """Return which stage goes first: the short ones, then the runs, the costly ones first."""
    stage, _, run = name.partition("@")
    if stage != "train":
        return 0 if stage == "check" else 1
    variant = settings.variants[run.rpartition("-")[0]]
    return 2 if variant.context == "nb" or variant.fusion == "fnb" else 3


def print_plan(settings: Params, stages: Stages) -> None:
    """Say what is about to run and what it costs, before it starts."""
    stale = sum(not stages.is_current(n) for n in stages.upstream if n.startswith("train@"))
    if stale:
        total = len(settings.rows) * len(settings.seeds)
        print(PLAN.read_text(encoding="utf-8").partition("\n## ")[0])
        print(f"{stale} of {total} runs will be trained; {PLAN} has the details", flush=True)


def run_again(stages: Stages, name: str) -> None:
    """Run a stage that DVC takes as up to date."""
    process = forks.start(stages.words(name), LOGS / f"{name}.log", {})
    process.join()
    if not process.exitcode:
        stages.record(name)
        stages.write()


def print_results(settings: Params) -> None:
    """Print the verdicts and where to look."""
    own = ReportPaths(settings.profile)
    if own.metrics.exists():
        metrics = read_json(own.metrics)
        counts = metrics["results"].items()
        print(f"the paper's claims: {', '.join(f'{n} {word}' for word, n in counts if n)}")
    print(
        f"Everything is up to date.\n"
        f"  report: {own.page}\n"
        f"  summary: {own.summary}\n"
        f"  all experiments: {INDEX}\n"
        f"  MLflow: `make ui`"
    )
