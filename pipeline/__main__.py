"""Run the whole pipeline with independent runs side by side, under one progress bar.

    python -m pipeline [--jobs N]

The same stages as `dvc repro`, with the same results: `--jobs` of DVC's processes share the runs,
taking some at a time with `dvc repro --single-item`. Kill it at any time; it goes on where it
stopped.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from pipeline.common import cli, gpus, params, warm
from pipeline.common.cli import InputError
from pipeline.common.orphans import end_with_parent
from pipeline.common.progress import Reporter
from pipeline.mend import HELD, holding, mend
from pipeline.tracking.store import UNSENT

LOGS = Path("logs")
STAGE = re.compile(r"'(?:train|evaluate)@([^']+)'")
LAST = "collect", "figures", "pictures", "report", "track"  # some runs are enough for these
PLAN = "repro", "--single-item", "plan"
PROGRAMS = Path(sys.executable).parent  # the stages run `python`, which may not be in PATH
DVC = [sys.executable, "-m", "dvc", "--wait-for-lock"]


def dvc(*words: str) -> None:
    """Run DVC in the foreground, without its talk; what a stage or DVC finds wrong is told."""
    if not subprocess.run([*DVC, *words, "--quiet"], preexec_fn=end_with_parent).returncode:
        return
    talking = [*DVC, *words]  # quiet, it hides errors
    again = subprocess.run(talking, capture_output=True, encoding="utf-8", errors="replace")
    if again.returncode:
        told = [line for line in again.stderr.splitlines() if line.startswith("ERROR")]
        print("\n".join(told), file=sys.stderr)
        raise InputError(f"`dvc {' '.join(words)}` failed; its message stands above")


def tell_holder() -> None:
    """Say so where another DVC command holds the repository, for DVC waits in silence."""
    with holding(HELD) as (free, file):
        if free:
            return
        file.seek(0)
        print(
            f"another DVC command (process {file.read().strip() or 'unknown'}) holds the lock "
            f"{HELD}; waiting for its end",
            file=sys.stderr,
        )


def stale() -> set[str]:
    """The stages whose dependencies or outputs changed."""
    done = subprocess.run(
        [*DVC, "status", "--json"], capture_output=True, encoding="utf-8", errors="replace"
    )
    if done.returncode:
        raise InputError(f"`dvc status` failed: {done.stderr.strip()}")
    return set(json.loads(done.stdout or "{}"))


def runs_to_do(settings: params.Params, changed: set[str]) -> list[str]:
    """The runs, VARIANT-SEED, of which a stage is stale; the costly ones first."""
    names = [f"{v}-{s}" for v in settings.variants for s in settings.seeds]
    wanted = [n for n in names if {f"train@{n}", f"evaluate@{n}"} & changed]

    def quadratic(name: str) -> bool:
        variant = settings.variants[name.rsplit("-", 1)[0]]
        return variant.context == "nb" or variant.fusion == "fnb"

    return sorted(wanted, key=quadratic, reverse=True)


def default_jobs(settings: params.Params) -> int:
    """One run a GPU, or as many as the cores hold at the profile's number of threads."""
    return usable_gpus() or max(1, (os.cpu_count() or 1) // settings.active.train.threads)


def usable_gpus() -> int:
    """Count the GPUs that PyTorch can use, and say so where it cannot use what the system has."""
    if not (listed := _gpus()):
        return 0
    code = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="ascii")
    usable = int(done.stdout) if done.stdout.strip().isdecimal() else 0
    if usable < listed:
        print(gpus.unusable(listed, usable), file=sys.stderr)
    return usable


def _gpus() -> int:
    return len(gpus.names())


@dataclass
class Pool:
    """Works through the runs with some DVC processes at a time; keeps why a run failed."""

    runs: list[str]
    jobs: int
    done: int = 0
    reasons: dict[str, str] = field(default_factory=dict)
    current: dict[int, str] = field(default_factory=dict)
    active: dict[int, subprocess.Popen[str]] = field(default_factory=dict)
    stopped: bool = False

    def work(self) -> None:
        LOGS.mkdir(exist_ok=True)
        todo, total = list(self.runs), len(self.runs)
        lock = threading.Lock()

        def take() -> list[str]:
            """A fair share of half of what is left: few starts of DVC, and a common end."""
            with lock:
                share = [] if self.stopped else todo[: max(1, len(todo) // (2 * self.jobs))]
                del todo[: len(share)]
                return share

        with Reporter("train and evaluate", total) as reporter:
            workers = [
                threading.Thread(target=self._worker, args=(take, i), daemon=True)
                for i in range(min(self.jobs, total))
            ]
            for worker in workers:
                worker.start()
            try:
                while any(worker.is_alive() for worker in workers):
                    time.sleep(0.5)
                    reporter.update(self.done, self._note())
            except BaseException:
                self._stop()
                raise

    def _worker(self, take: Callable[[], list[str]], number: int) -> None:
        environment = {**os.environ}
        if devices := gpus.names():
            environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
        with (LOGS / f"worker-{number}.log").open("w", encoding="utf-8") as log:
            while share := take():
                stages = [f"{stage}@{run}" for run in share for stage in ("train", "evaluate")]
                process = self.active[number] = subprocess.Popen(
                    [*DVC, "repro", "--single-item", "--keep-going", *stages],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    errors="replace",
                    env=environment,
                    start_new_session=True,  # so that a stop reaches what DVC started
                    preexec_fn=end_with_parent,
                    encoding="utf-8",
                )
                self._follow(process, number, share, log)

    def _follow(
        self, process: subprocess.Popen[str], number: int, share: list[str], log: TextIO
    ) -> None:
        """Keep what DVC prints, and learn from it which run it is at and what went wrong."""
        seen: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            log.flush()
            named = STAGE.search(line)
            if named and named[1] in share and named[1] not in seen:
                seen.append(named[1])
                self.current[number] = named[1]
                self.done += len(seen) > 1
            if line.lower().startswith("error") and seen:
                self.reasons.setdefault(seen[-1], line.strip())
        if process.wait() and not self.reasons.keys() & set(share):
            self.reasons |= dict.fromkeys(share, f"DVC ended with {process.returncode}")
        self.done += len(share) - max(0, len(seen) - 1)
        self.current.pop(number, None)
        self.active.pop(number, None)

    def _note(self) -> str:
        failed = f", {len(self.reasons)} failed" if self.reasons else ""
        return " ".join(sorted(self.current.values())) + failed

    def _stop(self) -> None:
        self.stopped = True
        for process in list(self.active.values()):
            os.killpg(process.pid, signal.SIGTERM)
        for process in list(self.active.values()):
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__)
    parser.add_argument("--jobs", type=int, help="runs side by side (default: by cores or GPUs)")
    jobs = parser.parse_args().jobs
    os.environ["PATH"] = f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    settings = params.load()
    jobs = default_jobs(settings) if jobs is None else jobs
    if jobs < 1:
        raise InputError(f"--jobs is {jobs}; allowed is 1 or more")
    tell_holder()
    mend()
    with warm.server() as started:
        os.environ |= started
        reproduce(settings, jobs)
    print("Everything is up to date; the report is reports/index.html")


def make_ready(settings: params.Params, jobs: int) -> None:
    """Tell what it costs, and make the data ready; side by side if there are jobs for both."""
    data = [*(["scene"] if settings.embedded else []), "prepare", "contact_sheet"]
    if jobs == 1:
        dvc("repro", "plan", *data)
        return
    dvc("repro", "check")  # first, and then each by itself: two commands may not both look at it
    plan = subprocess.Popen([*DVC, *PLAN, "--quiet"], preexec_fn=end_with_parent)
    dvc("repro", "--single-item", *data)
    if plan.wait():
        dvc(*PLAN)  # which tells what is wrong


def reproduce(settings: params.Params, jobs: int) -> None:
    """All that is stale, in DVC's order, the runs side by side."""
    make_ready(settings, jobs)
    changed = stale()
    pool = Pool(runs_to_do(settings, changed), jobs)
    if pool.runs:
        pool.work()
    for run, reason in pool.reasons.items():
        print(f"{run} failed, see {LOGS}: {reason}", file=sys.stderr)
    if pool.reasons:
        told = f"{len(pool.reasons)} of {len(pool.runs)} runs failed; all others are kept"
        try:
            dvc("repro", "--single-item", *LAST)
        except InputError as error:
            told += f"; the tables are not made anew: {error}"
        raise InputError(told)
    if changed:
        dvc("repro")
        if "networks" in changed:  # the plan came before it, and can now say what was measured
            dvc(*PLAN, "--force")
    elif UNSENT.exists():  # what DVC does not know of
        subprocess.run([sys.executable, "-m", "pipeline.track"])


if __name__ == "__main__":
    cli.run(main)
