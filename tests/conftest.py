"""A temporary clone of the repository, with settings so small that everything runs in seconds."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from pipeline.common import warm, yaml_file

ROOT = Path(__file__).parents[1]
VARIANTS = ("baseline", "apnb", "ann")
LONGEST = ("test_kills", "test_pipeline")

if "PYTEST_XDIST_WORKER" in os.environ:  # tests run side by side, one core each
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no core is left with one of them at the end."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@dataclass
class Clone:
    """A checkout that tests may change and run commands in."""

    path: Path

    def run(self, *command: str, ok: bool = True) -> str:
        """Run a command with the environment's programs; returns what it printed."""
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": programs, "ANN_SAVE_SECONDS": "1000"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        done = subprocess.run(
            command,
            cwd=self.path,
            env=environment,
            capture_output=True,
            timeout=300,
            encoding="utf-8",
        )
        told = done.stdout + done.stderr
        assert (done.returncode == 0) == ok, f"{command} returned {done.returncode}:\n{told}"
        return told

    def commit(self) -> None:
        """Make it a repository with one commit."""
        self.run("git", "init", "--quiet")
        self.run("git", "config", "user.email", "test@example.org")
        self.run("git", "config", "user.name", "test")
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "start")

    def edit(self, old: str, new: str) -> None:
        """Replace text in params.yaml."""
        file = self.path / "params.yaml"
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in params.yaml"
        file.write_text(text.replace(old, new), encoding="utf-8")


def small(settings: dict) -> dict:  # type: ignore[type-arg]
    """The shipped settings, reduced to three variants, one seed and a handful of iterations."""
    settings["seeds"] = [0]
    settings["variants"] = {name: settings["variants"][name] for name in VARIANTS}
    settings["tables"] = {"ablation": list(VARIANTS), "sampling": ["ann"]}
    settings["scene"] |= {"train": 12, "val": 4, "height": 64, "width": 128}
    tiny = {"channels": 16, "embedded_channels": 8, "sizes": [[8, 8]]}
    settings["efficiency"] |= {**tiny, "low_channels": 8, "threads": 1, "repeats": 1}
    settings["efficiency"]["seconds"] = 0.01
    settings["efficiency"]["curve"] |= {**tiny, "sizes": [[8, 8], [16, 8]], "fit": 2}
    settings["networks"] |= {"sizes": [], "repeats": 1, "seconds": 0.01}
    train = settings["profiles"]["embedded"]["train"]
    train |= {"iterations": 6, "warmup": 2, "batch_size": 2}
    train["augment"]["crop"] = [64, 128]
    return settings


@contextlib.contextmanager
def stages_start_warm(clone: Clone) -> Iterator[None]:
    """As those of `make repro` do, and not each in a new Python."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        with contextlib.chdir(clone.path):  # where the warm process finds the project's modules
            started = stack.enter_context(warm.server())
        for name, value in started.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Two threads that wait for each other on busy cores are slower than one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def copy_tracked(path: Path) -> Clone:
    """What git tracks or would track, but for dvc.lock."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    for name in listed.stdout.splitlines():
        if not (ROOT / name).is_file():
            continue
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, path / name)
    (path / "dvc.lock").unlink(missing_ok=True)
    return Clone(path)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with small settings, committed to a new repository."""
    path = tmp_path_factory.mktemp("clone")
    made = copy_tracked(path)
    file = path / "params.yaml"
    settings = small(yaml_file.read(file))
    settings["profiles"] = {name: settings["profiles"][name] for name in ("embedded", "camvid")}
    settings["networks"]["profile"] = "camvid"  # so that the plan has no ResNet-101 to count
    yaml_file.write(file, settings)
    stages = path / "dvc.yaml"
    text, output = stages.read_text(encoding="utf-8"), "    outs:\n      - reports/networks.json"
    once = text.replace(f"      - variants\n{output}", output)  # not again for each new variant
    assert once != text
    stages.write_text(once, encoding="utf-8")
    made.commit()
    return made


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """reports/ as the stages make it of the committed results; not to be changed."""
    from tests import reporting  # here, for it imports this module

    return reporting.made(tmp_path_factory.mktemp("report") / "root")
