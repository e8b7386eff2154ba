"""What names a run: whatever shapes its numbers changes its fingerprint, and its record says it."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.engine import provenance
from pipeline.settings import params
from pipeline.training import run as runs
from pipeline.training.run import Run, describe
from tests.conftest import ROOT
from tests.recorded import manifest

SETTINGS = params.load(ROOT / "params.yaml")


def made(**changes: Any) -> Run:
    known = Run(
        profile="embedded",
        variant="ann",
        seed=0,
        network=SETTINGS.resolve_network("ann"),
        train=SETTINGS.active.train,
        manifest=manifest(["a", "b"], dataset="x", title="X"),
        precision="float32",
        device="cpu",
        world_size=1,
    )
    return replace(known, **changes)


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"network": SETTINGS.resolve_network("ann") | {"dropout": 0.1}},
        {"network": SETTINGS.resolve_network("nb")},
        {"train": SETTINGS.active.train.model_copy(update={"power": 0.8})},
        {"manifest": manifest(["a", "b"], dataset="x", title="X", digest="other")},
        {"precision": "bfloat16"},
        {"device": "cuda"},
        {"world_size": 2},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_shapes_a_run_names_it(changes: dict[str, Any]) -> None:
    assert made(**changes).fingerprint != made().fingerprint


def test_what_lies_outside_a_run_names_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    known = made().fingerprint
    assert made(variant="other", profile="other").fingerprint == known  # names shape nothing
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "0.0")
        assert made().fingerprint != known
    with monkeypatch.context() as patch:
        digests = runs.code.digests("train")
        patch.setattr(runs.code, "digests", lambda _: digests | {"ann/fast.py": "other"})
        assert made().fingerprint != known
    assert made().fingerprint == known


def test_a_context_of_the_folder_names_its_own_runs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    own = SETTINGS.resolve_network("criss_cross")
    found = []
    for text in ("1", "2"):
        changed = {"criss_cross": {"contexts/criss_cross.py": text}}
        monkeypatch.setattr(runs, "digest_code", lambda name, known=changed: known.get(name, {}))
        found.append((made(network=own).fingerprint, made().fingerprint))
    (first, other), (second, same) = found
    assert first != second
    assert other == same


def test_the_record_says_what_the_run_was(monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(seed=7, world_size=3)
    record = describe(run)
    assert dict(record.dataset) == {"name": "x", "title": "X", "digest": "d"}
    assert (record.profile, record.variant, record.seed) == ("embedded", "ann", 7)
    assert record.fingerprint == run.fingerprint
    assert record.config.train.precision == "float32"
    assert record.config.network == SETTINGS.resolve_network("ann")
    assert record.config.seed == 7
    assert record.code.digest == run.code
    assert record.environment.processes == 3
    assert record.environment.device == "cpu"
    assert record.backbone_sha256 is None


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.email=test@example.org", "-c", "user.name=test")
    command = ["git", *who, *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


BESIDE = ("params.yaml", "README.md", "reports/README.md", "dvc.lock")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, as the current folder."""
    for name in ("ann/code.py", "dvc.yaml", *BESIDE):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("old\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "start")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["ann/code.py", "dvc.yaml"])
@pytest.mark.parametrize("change", ["edited", "staged", "deleted"])
def test_a_tree_that_differs_from_its_commit_is_dirty(
    repository: Path, name: str, change: str
) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    assert provenance.read_code_version() == {"commit": commit, "dirty": False}
    if change == "deleted":
        (repository / name).unlink()
    else:
        (repository / name).write_text("new\n")
    if change == "staged":
        git(repository, "add", "--all")
    assert provenance.read_code_version() == {"commit": commit, "dirty": True}
    assert provenance.describe_code(**provenance.read_code_version()) == f"{commit[:10]} + changes"
    git(repository, "commit", "--all", "--quiet", "--message", "change")
    found = provenance.read_code_version()
    assert found["commit"] != commit
    assert found["dirty"] is False
    assert provenance.describe_code(**found) == found["commit"][:10]


def test_what_a_run_writes_and_its_settings_do_not_make_the_tree_dirty(repository: Path) -> None:
    for name in BESIDE:
        (repository / name).write_text("new\n")
    assert provenance.read_code_version()["dirty"] is False
    (repository / "ann/code.py").write_text("new\n")
    assert provenance.read_code_version()["dirty"] is True
