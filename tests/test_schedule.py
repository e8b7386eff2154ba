"""Stages side by side: their order, what fails, and the processes that run them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.engine import forks, schedule
from pipeline.engine.dvc import Stages as DvcStages
from pipeline.engine.errors import InputError
from pipeline.engine.schedule import Schedule
from tests.conftest import Clone

GRAPH = {
    "check": set(),
    "plan": {"check"},
    "prepare": {"check"},
    "train@a-0": {"prepare"},
    "train@b-0": {"prepare"},
    "evaluate@a-0": {"prepare", "train@a-0"},
    "evaluate@b-0": {"prepare", "train@b-0"},
    "collect": {"evaluate@a-0", "evaluate@b-0", "train@a-0", "train@b-0"},
    "cost": {"check"},
    "networks@a": {"check"},
    "report": {"collect", "cost", "networks@a"},
}
ALONE = frozenset({"cost", "networks@a"})


class Stages:
    """Stands in for DVC's stages, and notes what is asked of them."""

    def __init__(self, current: set[str], cached: set[str]) -> None:
        self.upstream: dict[str, set[str]] = GRAPH
        self.required = GRAPH | {"collect": set()}
        self.current, self.cached = current, cached
        self.recorded: list[str] = []
        self.written: list[str] = []

    def words(self, name: str) -> list[str]:
        return [name]

    def is_current(self, name: str) -> bool:
        return name in self.current

    def restore(self, name: str) -> bool:
        return name in self.cached

    def record(self, name: str) -> None:
        if name == "plan" and "record" in self.cached:
            raise InputError("plan: changed")
        self.recorded.append(name)

    def write(self) -> None:
        self.written = list(self.recorded)


def work(name: str, log: str, seconds: float, status: int) -> None:
    Path(log).write_text(f"{name} began\nerror: {name} is wrong\n", encoding="utf-8")
    time.sleep(seconds)
    os._exit(status)


Run = Callable[..., tuple[Schedule, Stages, list[tuple[str, set[str]]]]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Returns the schedule, its stages, and each start with what ran then."""

    def make(
        jobs: int = 2,
        failing: tuple[str, ...] = (),
        current: tuple[str, ...] = (),
        cached: tuple[str, ...] = (),
    ) -> tuple[Schedule, Stages, list[tuple[str, set[str]]]]:
        stages = Stages(set(current), set(cached))
        starts: list[tuple[str, set[str]]] = []

        def start(words: list[str], log: Path, environment: Any, warm: bool) -> BaseProcess:
            (name,) = words
            assert warm == (name not in ALONE)
            assert environment["DVC_STAGE"] == name
            starts.append((name, set(made._running)))
            arguments = (name, str(log), 0.1, int(name in failing))
            process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
            process.start()
            return process

        monkeypatch.setattr(schedule.forks, "start", start)
        rank = {"train@b-0": 1}
        made = Schedule(
            stages,  # type: ignore[arg-type]
            jobs,
            ALONE,
            lambda name: rank.get(name, 0),
            [],
            tmp_path,
            "plan",
            lambda name: None,
        )
        made.work()
        return made, stages, starts

    return make


def test_each_stage_starts_after_what_it_depends_on(run: Run) -> None:
    made, stages, starts = run()
    names = [name for name, _ in starts]
    assert sorted(names) == sorted(GRAPH)
    for name, beside in starts:
        assert len(beside) < 2
        ended = set(names[: names.index(name)]) - beside
        assert GRAPH[name] <= ended
    assert made.ran == GRAPH.keys()
    assert sorted(stages.written) == sorted(GRAPH)
    assert names.index("train@a-0") < names.index("train@b-0")  # by rank
    assert any(beside for _, beside in starts)  # two at a time


def test_what_measures_time_runs_alone(run: Run) -> None:
    _, _, starts = run(jobs=3)
    beside = dict(starts)
    assert beside["cost"] == set()
    assert all("cost" not in others for others in beside.values())


def test_one_job_is_one_at_a_time(run: Run) -> None:
    assert all(beside == set() for _, beside in run(jobs=1)[2])


def test_what_is_current_or_cached_does_not_run(run: Run) -> None:
    made, stages, starts = run(current=("check", "plan", "train@a-0"), cached=("train@b-0",))
    assert not {"check", "plan", "train@a-0", "train@b-0"} & {name for name, _ in starts}
    assert "train@b-0" in made.ran
    assert "check" not in made.ran
    assert "report" in stages.recorded


def test_a_failed_run_ends_its_own_evaluation_and_the_tables_are_made(run: Run) -> None:
    made, stages, _ = run(failing=("train@a-0",))
    assert made.failures == {"train@a-0": "train@a-0 is wrong"}
    assert set(stages.recorded) == GRAPH.keys() - {"train@a-0", "evaluate@a-0"}


def test_a_failed_stage_ends_all_that_depends_on_it(run: Run) -> None:
    made, stages, _ = run(failing=("prepare",))
    assert made.failures.keys() == {"prepare"}
    assert set(stages.recorded) == {"check", "plan", "cost", "networks@a"}
    assert stages.written == stages.recorded


def test_a_failed_matrix_ends_what_needs_its_file(run: Run) -> None:
    made, stages, _ = run(failing=("networks@a",))
    assert made.failures.keys() == {"networks@a"}
    assert set(stages.recorded) == GRAPH.keys() - {"networks@a", "report"}


def test_a_stage_requires_what_makes_its_files_and_gathers_the_rest(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone.path)
    stages = DvcStages()
    assert "networks@embedded" in stages.required["figures"]
    assert "train@apnb-0" in stages.required["evaluate@apnb-0"]
    assert "evaluate@apnb-0" in stages.upstream["collect"]
    assert stages.required["collect"] == {"check"}


def test_what_dvc_refuses_is_a_failure_of_the_stage(run: Run) -> None:
    made, stages, _ = run(cached=("record",))
    assert made.failures == {"plan": "plan: changed"}
    assert "report" in stages.recorded


def test_the_time_left_is_told_when_each_kind_has_ended(run: Run) -> None:
    made, _, _ = run()
    made._done.clear()
    made._seconds.clear()
    assert made._left() is None
    made._seconds = {"train": [10.0, 20.0]}
    assert made._left() is None
    made._seconds["evaluate"] = [1.0]
    assert made._left() == (2 * 15 + 2 * 1) / 2


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")
def test_a_fork_is_the_command_that_a_new_python_would_be(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone.path)
    monkeypatch.syspath_prepend(clone.path)
    program = clone.path / "pipeline/__main__.py"
    text = program.read_text(encoding="utf-8")
    # A command that starts its workers by another method than a new Python leaves them when killed.
    shown = "import multiprocessing\nprint(multiprocessing.get_start_method(), flush=True)\n"
    program.write_text(shown + text, encoding="utf-8")
    for words, status in ((["train", "apnb", "9"], 1), (["nothing"], 2)):
        command = [sys.executable, "-m", "pipeline", *words]
        expected = subprocess.run(command, capture_output=True, encoding="utf-8")
        assert expected.returncode == status
        for warm in (True, False):
            process = forks.start(words, Path("logs/words.log"), {"WORD": "1"}, warm)
            process.join()
            assert process.exitcode == status
            told = Path("logs/words.log").read_text(encoding="utf-8")
            assert told == expected.stdout + expected.stderr
    program.write_text(text, encoding="utf-8")


STARTER = """
import sys, time
from pathlib import Path
from pipeline.engine import forks
if __name__ == "__main__":
    process = forks.start(["scene"], Path("logs/scene.log"), {}, warm=sys.argv[1] == "warm")
    print(process.pid, flush=True)
    time.sleep(1000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")
@pytest.mark.parametrize("warm", ["warm", "cold"])
def test_a_stage_ends_with_whoever_started_it(clone: Clone, warm: str) -> None:
    settings = (clone.path / "params.yaml").read_text(encoding="utf-8")
    clone.edit("  train: 12\n", "  train: 100000\n")  # draws for minutes
    (clone.path / "starter.py").write_text(STARTER, encoding="utf-8")
    starter = subprocess.Popen(
        [sys.executable, "starter.py", warm],
        cwd=clone.path,
        env={**os.environ, "PYTHONPATH": str(clone.path)},
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert starter.stdout
    stage = psutil.Process(int(starter.stdout.readline()))
    time.sleep(5)
    assert stage.is_running()
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    psutil.wait_procs([stage], timeout=20)
    assert not stage.is_running() or stage.status() == psutil.STATUS_ZOMBIE
    (clone.path / "params.yaml").write_text(settings, encoding="utf-8")
