"""Killed at any moment, and run again, the pipeline ends as if it had not been.

One clone is never disturbed. Copies of it are killed: each stage when it is about to open, rename
or remove a file, one kill after another; then `repro` and `dvc repro` at random
times, with all that they started or one of it first. All end with the same bytes.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from pipeline.engine.forks import LIBRARIES
from tests.conftest import Clone
from tests.outcomes import outcome
from tests.test_pipeline import mlflow_runs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills by Linux's process table")

MEASURED = ("efficiency", "networks", "figures")  # stages whose results are times
KILLED = ("check", "scene", "prepare", "features", "contact_sheet", "train ann 0", "evaluate ann 0")
UNDISTURBED = ("train baseline 0", "evaluate baseline 0", "train apnb 0", "evaluate apnb 0")
LAST = ("collect", "pictures", "report", "index", "plan")
KILLS = int(os.environ.get("ANN_TEST_KILLS", "10"))  # of each command, at random times
SEED = int(os.environ.get("ANN_TEST_SEED", "0"))  # of those times

# It forks a stage for each line that it reads, because importing the libraries takes longer than a
# stage. A stage dies at its k-th touch of a file. It imports the project's modules itself.
DYING = """
import importlib, json, os, runpy, signal, sys
sys.path.insert(0, os.getcwd())
for name in sys.argv[1:]:
    importlib.import_module(name)
seen = []
def hook(event, arguments):
    if event not in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"):
        return
    limit = os.environ.get("ANN_TEST_KILL_AT")
    if limit is None or not isinstance(arguments[0], (str, os.PathLike)):
        return
    if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
        return
    path = os.path.abspath(arguments[0])
    if not path.startswith(os.environ["ANN_TEST_FOLDER"]) or ".lock" in path or ".db" in path:
        return
    seen.append(path)
    if len(seen) == int(limit):
        if event == "open" and arguments[2] & os.O_CREAT:  # in the midst of what it writes
            del os.environ["ANN_TEST_KILL_AT"]
            with open(path, "ab" if arguments[2] & os.O_APPEND else "wb") as file:
                file.write(b"[half")
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
for line in sys.stdin:
    words, limit = json.loads(line)
    if not (child := os.fork()):
        output = os.open(os.environ["ANN_TEST_LOG"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if limit is not None:
            os.environ["ANN_TEST_KILL_AT"] = str(limit)
        sys.argv = ["pipeline", *words]
        runpy.run_module("pipeline", run_name="__main__", alter_sys=True)
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def whole(folder: Path, expected: dict[str, Any]) -> None:
    """No file under its own name is half-written, whatever was killed."""
    for name, value in outcome(folder).items():
        hidden = any(part.startswith(".") for part in Path(name).parts)
        assert hidden or value == expected[name], f"{name} was taken for whole"


def same(folder: Path, expected: dict[str, Any]) -> None:
    found = outcome(folder)
    assert [n for n in expected | found if expected.get(n) != found.get(n)] == []
    left = [f for f in folder.rglob(".*partial*") if ".dvc" not in f.parts]
    assert not left + list((folder / ".resume").glob("*"))


@pytest.fixture(scope="module")
def pristine(clone: Clone) -> Clone:
    """The clone without the stages that measure times; its reports/ have what they measured."""
    file = clone.path / "dvc.yaml"
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    for stage in MEASURED:
        del settings["stages"][stage]
    file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    own = clone.path / "reports/embedded"
    for folder in (own, own.parent):
        for made in ("curves.csv", "README.md", "metrics.json", "index.html"):
            (folder / made).unlink(missing_ok=True)
        for made in ("results", "tables", "pictures", "variants"):
            shutil.rmtree(folder / made, ignore_errors=True)
    clone.run("git", "add", "--all")
    clone.run("git", "commit", "--quiet", "--message", "without times")
    return clone


@pytest.fixture(scope="module")
def copied(pristine: Clone, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Clone]:
    """Another clone of the same commit."""

    def copy() -> Clone:
        path = tmp_path_factory.mktemp("copy") / "clone"
        shutil.copytree(pristine.path, path, symlinks=True)
        return Clone(path)

    return copy


@pytest.fixture(scope="module")
def undisturbed(pristine: Clone, copied: Callable[[], Clone]) -> tuple[dict[str, Any], float]:
    """What one run after the other makes, and the seconds that it takes."""
    clone, began = copied(), time.monotonic()
    clone.run("python", "-m", "pipeline", "repro", "--jobs", "1")
    return outcome(clone.path), time.monotonic() - began


@contextlib.contextmanager
def mortal(clone: Clone) -> Iterator[Callable[[str, int | None], int]]:
    """Yield a function that runs a stage, which dies at a touch of a file if one is given."""
    log = told_by(clone)
    more = {"PYTHONDONTWRITEBYTECODE": "1", "ANN_SAVE_SECONDS": "0", "ANN_TEST_LOG": str(log)}
    more["ANN_TEST_FOLDER"] = str(clone.path)
    left_out = ("MLFLOW_TRACKING_URI", "PYTHONPATH")
    with subprocess.Popen(
        [sys.executable, "-c", DYING, *LIBRARIES],
        cwd=clone.path,
        env={k: v for k, v in {**os.environ, **more}.items() if k not in left_out},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        orders, statuses = server.stdin, server.stdout

        def run(stage: str, at: int | None) -> int:
            print(json.dumps([stage.split(), at]), file=orders, flush=True)
            status = int(statuses.readline())
            assert status in (0, -signal.SIGKILL), log.read_text(encoding="utf-8")
            return status

        yield run


def test_a_stage_killed_at_its_files_leaves_nothing_half_written(
    copied: Callable[[], Clone],
    undisturbed: tuple[dict[str, Any], float],
) -> None:
    clone, expected = copied(), undisturbed[0]
    draws, kills = random.Random(0), {}
    with mortal(clone) as run:
        for stage in (*KILLED, *UNDISTURBED, *LAST):
            at = killed = 0
            while stage not in UNDISTURBED and killed < 4:  # each time farther
                at += draws.randint(1, 12 if stage == "scene" else 3)
                if run(stage, at) == 0:
                    break
                killed += 1
                whole(clone.path, expected)
            assert run(stage, None) == 0
            kills[stage] = killed
    assert all(kills[stage] for stage in (*KILLED, *LAST)), kills
    assert sum(kills.values()) >= 20
    same(clone.path, expected)


def start(clone: Clone, *command: str) -> subprocess.Popen[bytes]:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": programs, "ANN_SAVE_SECONDS": "0"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with told_by(clone).open("w", encoding="utf-8") as file:
        return subprocess.Popen(
            command,
            cwd=clone.path,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def told_by(clone: Clone) -> Path:
    """What the latest command printed."""
    return clone.path.parent / "told.txt"


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """The process and all that it started, in whatever group or session."""
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(process.pid)
        top.suspend()  # starts no more
        for each in (*top.children(recursive=True), top):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    process.wait()


def kill(process: subprocess.Popen[bytes], draws: random.Random) -> None:
    """All at once, as when the power fails; or first one of them, and soon those that are left."""
    if draws.random() < 0.4:
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        with contextlib.suppress(psutil.NoSuchProcess):
            draws.choice(tree).kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=draws.uniform(0, 3))
        psutil.wait_procs(tree, timeout=0 if process.poll() is None else 30)
    kill_all(process)


def list_left(clone: Clone) -> list[psutil.Process]:
    """List the processes that still work in a clone's folder."""
    left = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if Path(process.cwd()).is_relative_to(clone.path):
                left.append(process)
    return left


@pytest.mark.parametrize(
    "command",
    [("python", "-m", "pipeline", "repro", "--jobs", "2"), ("dvc", "repro")],
    ids=["jobs", "dvc"],
)
def test_a_pipeline_killed_at_any_moment_ends_as_one_that_was_not(
    command: tuple[str, ...],
    copied: Callable[[], Clone],
    undisturbed: tuple[dict[str, Any], float],
) -> None:
    """Again and again, in one clone until it is done and then in another."""
    expected, seconds = undisturbed
    draws, clone = random.Random(SEED + len(command)), copied()
    for _ in range(KILLS):
        if command[0] == "dvc":
            clone.run("python", "-m", "pipeline", "mend")
        process = start(clone, *command)
        while True:
            try:
                status = process.wait(timeout=seconds * draws.uniform(0, 0.3))
            except subprocess.TimeoutExpired:
                break
            assert status == 0, told_by(clone).read_text(encoding="utf-8")
            same(clone.path, expected)
            clone = copied()
            process = start(clone, *command)
        kill(process, draws)
        whole(clone.path, expected)
    clone.run("python", "-m", "pipeline", "mend")
    clone.run(*command)
    same(clone.path, expected)
    assert psutil.wait_procs(list_left(clone), timeout=20)[1] == []
    assert clone.run("dvc", "status").strip() == "Data and pipelines are up to date."
    if command[0] == "python":
        runs = mlflow_runs(clone)
        names = runs["tags.mlflow.runName"].tolist()
        assert len(names) == len(set(names)) == 6  # three variants and their only seed
        assert set(runs["status"]) == {"FINISHED"}
