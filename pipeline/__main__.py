"""Run the whole pipeline with independent runs side by side, under one progress bar.

    python -m pipeline [--jobs N]

The same stages as `dvc repro`, with the same results: each run is a `dvc repro --single-item` of
its own, as many at a time as `--jobs` says. Kill it at any time; it goes on where it stopped.
"""

import argparse
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.common import cli, params
from pipeline.common.cli import InputError
from pipeline.common.progress import Reporter

LOGS = Path("logs")
DVC = [sys.executable, "-m", "dvc", "--wait-for-lock"]


def dvc(*words: str) -> None:
    """Run DVC in the foreground; its own output says what is wrong."""
    if subprocess.run([*DVC, *words]).returncode:
        raise InputError(f"`dvc {' '.join(words)}` failed; its message stands above")


def stale() -> set[str]:
    """The stages whose dependencies or outputs changed."""
    done = subprocess.run([*DVC, "status", "--json"], capture_output=True, text=True)
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
    return _gpus() or max(1, (os.cpu_count() or 1) // settings.active.train.threads)


def _gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([d for d in visible.split(",") if d.strip() not in ("", "-1")])
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    except OSError:
        return 0
    return 0 if listed.returncode else listed.stdout.count("GPU ")


@dataclass
class Pool:
    """Works through the runs with some DVC processes at a time; keeps what failed."""

    runs: list[str]
    jobs: int
    done: int = 0
    failed: list[str] = field(default_factory=list)
    active: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    stopped: bool = False

    def work(self) -> None:
        LOGS.mkdir(exist_ok=True)
        todo: queue.SimpleQueue[str] = queue.SimpleQueue()
        for run in self.runs:
            todo.put(run)
        workers = [
            threading.Thread(target=self._worker, args=(todo, i), daemon=True)
            for i in range(min(self.jobs, len(self.runs)))
        ]
        with Reporter("train and evaluate", len(self.runs)) as reporter:
            for worker in workers:
                worker.start()
            try:
                while any(worker.is_alive() for worker in workers):
                    time.sleep(0.5)
                    reporter.update(self.done, self._note())
            except BaseException:
                self._stop()
                raise

    def _worker(self, todo: "queue.SimpleQueue[str]", number: int) -> None:
        environment = dict(os.environ)
        if gpus := _gpus():
            devices = (os.environ.get("CUDA_VISIBLE_DEVICES") or "").split(",")
            device = devices[number % gpus] if devices != [""] else str(number % gpus)
            environment["CUDA_VISIBLE_DEVICES"] = device
        while not self.stopped:
            try:
                run = todo.get_nowait()
            except queue.Empty:
                return
            with (LOGS / f"{run}.log").open("wb") as log:
                self.active[run] = subprocess.Popen(
                    [*DVC, "repro", "--single-item", f"train@{run}", f"evaluate@{run}"],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,  # so that a stop reaches what DVC started
                )
                if self.active[run].wait():
                    self.failed.append(run)
            self.active.pop(run, None)
            self.done += 1

    def _note(self) -> str:
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return " ".join(sorted(self.active)) + failed

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
    settings = params.load()
    jobs = default_jobs(settings) if jobs is None else jobs
    if jobs < 1:
        raise InputError(f"--jobs is {jobs}; allowed is 1 or more")
    dvc("repro", "--quiet", "prepare")
    changed = stale()
    pool = Pool(runs_to_do(settings, changed), jobs)
    if pool.runs:
        pool.work()
    for run in pool.failed:
        lines = (LOGS / f"{run}.log").read_text(errors="replace").splitlines()
        reasons = [line for line in lines if line.lower().startswith("error")] or lines[-3:]
        print(f"{run} failed, see {LOGS}/{run}.log: {' '.join(reasons[:1])}", file=sys.stderr)
    if pool.failed:
        dvc("repro", "--quiet", "--single-item", "track", "collect", "report")
        raise InputError(f"{len(pool.failed)} of {len(pool.runs)} runs failed; all others are kept")
    if changed:
        dvc("repro", "--quiet")
    print("Everything is up to date; the tables are in reports/README.md")


if __name__ == "__main__":
    cli.run(main)
