"""A stage in a fork of the warm process is the stage that a new Python would be."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from pipeline.common import warm
from tests.conftest import Clone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="stages start warm on Linux only")


@pytest.fixture(scope="module")
def environment(clone: Clone) -> Iterator[dict[str, str]]:
    with warm.server() as found:
        while not os.path.exists(found[warm.VARIABLE]):  # noqa: PTH110
            time.sleep(0.1)
        yield {**os.environ, **found}


def forks() -> list[psutil.Process]:
    """The stages that run in a fork."""
    return [
        fork
        for process in psutil.Process().children()
        if "pipeline.common.warm" in process.cmdline()
        for fork in process.children()
    ]


def test_output_files_and_exit_status_are_the_same(
    clone: Clone, environment: dict[str, str]
) -> None:
    for words, status in (
        (["pipeline.check"], 0),
        (["pipeline.train", "apnb", "9"], 1),
        (["pipeline.nothing"], 1),
    ):
        told = []
        for variables in (dict(os.environ), environment):
            (clone.path / "data/checked.txt").unlink(missing_ok=True)
            done = subprocess.run(
                [sys.executable, "-m", *words],
                cwd=clone.path,
                env=variables,
                capture_output=True,
                encoding="utf-8",
            )
            assert done.returncode == status, done.stderr
            told.append((done.stdout, done.stderr.splitlines()[-1:] if status else done.stderr))
            assert (clone.path / "data/checked.txt").exists() == (status == 0)
        if words != ["pipeline.nothing"]:  # the interpreter's own words differ
            assert told[0] == told[1]


def test_a_killed_stage_takes_its_fork_along(clone: Clone, environment: dict[str, str]) -> None:
    clone.edit("  train: 12\n", "  train: 100000\n")  # draws for minutes
    command = [sys.executable, "-m", "pipeline.scene"]
    stage = subprocess.Popen(command, cwd=clone.path, env=environment)
    limit = time.monotonic() + 20
    while not forks() and time.monotonic() < limit:
        time.sleep(0.1)
    assert forks()
    stage.send_signal(signal.SIGKILL)
    stage.wait()
    while forks() and time.monotonic() < limit:
        time.sleep(0.1)
    assert not forks()
