"""The wheel holds the library, needs PyTorch and NumPy alone, and works in any folder."""

import os
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import BytesParser
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import copy_tracked

pytestmark = pytest.mark.skipif(
    find_spec("setuptools") is None, reason="setuptools is not installed; `make setup` installs it"
)
PIP = [sys.executable, "-m", "pip", "--isolated", "--quiet", "--disable-pip-version-check"]
OFFLINE = ["--no-deps", "--no-index"]

USE = """
import sys
from importlib.metadata import version
sys.modules |= dict.fromkeys({blocked!r})  # an import of one of them fails
import ann, torch
assert ann.__file__.startswith({folder!r}), ann.__file__
block = ann.NonLocalBlock(
    16, key_channels=8, value_channels=8, sampler=ann.Sampler("pyramid_average", [1, 3])
)
print(version("ann-benchmark"), *block(torch.zeros(2, 16, 8, 8)).shape)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, because a build leaves files beside the sources."""
    source = copy_tracked(tmp_path_factory.mktemp("source")).path
    out = tmp_path_factory.mktemp("wheel")
    command = [*PIP, "wheel", *OFFLINE, "--no-build-isolation", f"--wheel-dir={out}", str(source)]
    subprocess.run(command, check=True, timeout=120)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel in a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([*PIP, "install", *OFFLINE, f"--target={folder}", wheel], check=True)
    return folder


def run(installed: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder that is not searched for modules, as `installed` is."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=120,
        encoding="utf-8",
    )


def test_the_wheel_holds_the_library_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [Path(name) for name in archive.namelist()]
    tops = {name.parts[0] for name in names if not name.parts[0].endswith(".dist-info")}
    assert tops == {"ann", "ann_bench.py"}
    assert {Path("ann/__init__.py"), Path("ann/py.typed")} <= set(names)
    assert all(len(name.parts) == 2 for name in names if name.parts[0] == "ann")
    assert any(name.name == "LICENSE" for name in names)


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (file,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return BytesParser().parsebytes(archive.read(file))


def test_the_wheel_needs_pytorch_alone(wheel: Path) -> None:
    found = metadata(wheel)
    needed = [line for line in found.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert set(needed) == {"torch>=2.11"}
    assert set(found.get_all("Provides-Extra", [])) == {
        "resnet",
        "timm",
        "lite0",
        "pipeline",
        "dev",
    }
    assert found["License-Expression"] == "MIT"


def test_a_block_runs_without_the_extras(wheel: Path, installed: Path, tmp_path: Path) -> None:
    lines = metadata(wheel).get_all("Requires-Dist", [])
    extras = {Requirement(line).name for line in lines if "extra ==" in line}
    extras -= {"jinja2", "setuptools"}  # PyTorch needs them
    modules = [name for name, found in packages_distributions().items() if extras & set(found)]
    assert {"torchvision", "pandas", "pydantic"} <= set(modules)
    done = run(installed, tmp_path, "-c", USE.format(folder=str(installed), blocked=modules))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1:] == ["2", "16", "8", "8"]


def test_ann_bench_says_that_it_needs_a_checkout(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, str(installed / "bin/ann-bench"), "check")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ann-bench runs in a checkout of the repository")


def test_ann_bench_runs_the_checkouts_pipeline(installed: Path, tmp_path: Path) -> None:
    checkout = copy_tracked(tmp_path).path
    done = run(installed, checkout, str(installed / "bin/ann-bench"), "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage: ann-bench " in done.stdout
    assert "repro" in done.stdout
