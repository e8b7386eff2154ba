"""`make bench-jobs`: `make repro` with two runs side by side against one after the other.

The shipped experiment with its first seed alone, from nothing, in two fresh clones. The time of a
whole `make repro` is compared, so what does not run side by side counts too; with more seeds it
counts less. Both must end with the same weights, curves, scores and tables.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pipeline.engine import yaml_file
from tests.conftest import ROOT
from tests.outcomes import outcome


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two runs need two cores")
def test_two_jobs_against_one(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    seconds, outcomes = {}, {}

    def turn() -> None:
        for jobs in (1, 2):
            folder = tmp_path / str(jobs)
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
            file = folder / "params.yaml"
            settings = yaml_file.read_yaml(file) | {"seeds": [0]}
            yaml_file.write_yaml(file, settings)
            began = time.perf_counter()
            command = [sys.executable, "-m", "pipeline", "repro", "--jobs", str(jobs)]
            subprocess.run(command, cwd=folder, check=True)
            seconds[jobs] = time.perf_counter() - began
            found = outcome(folder)  # figures have the hours of training in their metadata
            outcomes[jobs] = {n: v for n, v in found.items() if "figures" not in n}

    benchmark.pedantic(turn, rounds=1)
    assert outcomes[1] == outcomes[2]
    ratio = seconds[1] / seconds[2]
    benchmark.extra_info["ratio"] = round(ratio, 2)
    print(f"\n{seconds[1]:.0f} s with one job, {seconds[2]:.0f} s with two: {ratio:.2f} times")
