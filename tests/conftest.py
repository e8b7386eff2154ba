"""A temporary clone of the repository, with settings so small that everything runs in seconds."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from pipeline.__main__ import app
from pipeline.engine import errors, yaml_file

ROOT = Path(__file__).parents[1]
VARIANTS = ("baseline", "apnb", "ann")
LONGEST = ("test_kills", "test_pipeline")
SLOW_FIXTURES = {"clone", "reports"}

if "PYTEST_XDIST_WORKER" in os.environ:  # tests run side by side, one core each
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _keep_threads() -> Iterator[None]:
    """A stage that runs inside a test sets its number of threads, and the next test has its own.

    oneDNN 3.13 crashes in the backward pass of a strided 1x1 convolution of three samples and eight
    channels on two threads.
    """
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of tests/contract."""
    for kind in ("block", "sampler", "dataset"):
        parser.addoption(f"--{kind}", help=f"the {kind} of tests/contract to check; all if omitted")


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what `-m "not slow"` names
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of a clone or of the report as slow, and run the longest files first.

    Otherwise one core would be left with one of them at the end.
    """
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
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

    def repro(self, *words: str) -> set[str]:
        """Run `repro`; returns the stages that ran, without those that DVC's cache had."""
        shutil.rmtree(self.path / "logs", ignore_errors=True)
        self.run("python", "-m", "pipeline", "repro", *words)
        return {file.stem for file in self.path.glob("logs/*.log")}

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


def command_line(*words: object) -> None:
    """Run `python -m pipeline WORDS` in this process; an InputError is raised, not printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(errors, "run", lambda work: work())
        app([str(word) for word in words], standalone_mode=False)


def small(settings: dict) -> dict:  # type: ignore[type-arg]
    """The shipped settings, reduced to three variants, one seed and a handful of iterations."""
    settings["seeds"] = [0]
    settings["variants"] = {name: settings["variants"][name] for name in VARIANTS}
    settings["tables"] = {"ablation": list(VARIANTS), "sampling": ["ann"]}
    settings["rows"] = list(VARIANTS)
    for profile in settings["profiles"].values():
        profile |= {"tables": ["ablation", "sampling"], "rows": None, "seeds": [0]}
        profile["more_seeds"] = []
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


def write_claims(root: Path, variants: Iterable[str]) -> None:
    """Write the claims that speak of these variants alone, and those of costs."""
    claims = yaml_file.read_yaml(ROOT / "reports/claims.yaml")
    known = {None, *variants}
    kept = {}
    for name, claim in claims.items():
        rows = {row for test in claim["tests"] for row in list_rows(test)}
        if rows <= known:
            kept[name] = claim
    (root / "reports").mkdir(exist_ok=True)
    yaml_file.write_yaml(root / "reports/claims.yaml", kept)


def list_rows(test: dict) -> list:  # type: ignore[type-arg]
    """Return the rows of a test of a claim."""
    others = test.get("than")
    return [test.get("row"), *test.get("rows", []), *(others if type(others) is list else [others])]


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
    settings = small(yaml_file.read_yaml(file))
    settings["profiles"] = {name: settings["profiles"][name] for name in ("embedded", "camvid")}
    settings["networks"]["profile"] = "camvid"  # so that the plan has no ResNet-101 to count
    yaml_file.write_yaml(file, settings)
    write_claims(path, settings["variants"])
    made.commit()
    return made


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The profile's folder in reports/, made of the committed results; not to be changed."""
    from tests import reporting  # here, for it imports this module

    return reporting.make_report(tmp_path_factory.mktemp("report") / "root")
