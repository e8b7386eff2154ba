"""What a kill of DVC left is mended, and nothing else."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from dvc.dvcfile import Lockfile
from dvc.utils.serialize import load_yaml

from pipeline.engine.mend import DVC_LOCK, is_whole_lock, is_whole_rwlock
from pipeline.engine.provenance import read_code_version
from tests.conftest import ROOT, Clone

WHOLE = "schema: '2.0'\nstages:\n  check:\n    cmd: python -m pipeline check\n"
CUT = WHOLE[:-30]


def test_of_what_dvc_was_killed_writing_only_what_it_takes_is_left(tmp_path: Path) -> None:
    lines = (ROOT / "dvc.lock").read_text(encoding="utf-8").splitlines(keepends=True)
    text = "".join(lines[:70])
    file = tmp_path / "dvc.lock"
    kept = 0
    for cut in range(len(text)):
        if is_whole_lock(text[:cut]):
            kept += 1
            file.write_text(text[:cut], encoding="utf-8")
            Lockfile.validate(load_yaml(str(file)))
    assert 0 < kept < len(text) / 20  # most are seen
    assert is_whole_lock("".join(lines))
    assert is_whole_rwlock('{"read": {}}')
    mine = {"read": {"ann": [{"pid": os.getpid(), "cmd": "dvc repro"}]}}
    assert is_whole_rwlock(json.dumps(mine))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    while psutil.Process(ended.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    mine["read"]["ann"][0]["pid"] = ended.pid
    assert not is_whole_rwlock(json.dumps(mine))
    ended.wait()
    assert not is_whole_rwlock('{"read": {"x"')
    assert not is_whole_rwlock("")


@pytest.fixture
def repository(tmp_path: Path) -> Clone:
    """The commands, DVC's folder, and a committed dvc.lock that a kill has cut off since."""
    clone = Clone(tmp_path)
    (tmp_path / "pipeline").symlink_to(ROOT / "pipeline")
    clone.run("git", "init", "--quiet")
    clone.run("dvc", "init", "--quiet")
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  check:\n    cmd: python -m pipeline check\n", encoding="utf-8"
    )
    (tmp_path / "dvc.lock").write_text(WHOLE, encoding="utf-8")
    clone.commit()
    (tmp_path / "dvc.lock").write_text(CUT, encoding="utf-8")
    return clone


@pytest.mark.slow
def test_mend_takes_the_committed_lock_and_dvc_goes_on(repository: Clone) -> None:
    lock = repository.path / "dvc.lock"
    refused = repository.run("dvc", "status", ok=False)
    assert "dvc.lock' validation failed" in refused
    (repository.path / ".dvc/tmp/rwlock").write_text('{"read": {"x"', encoding="utf-8")
    told = repository.run("python", "-m", "pipeline", "mend")
    assert "dvc.lock was cut off when DVC was killed" in told
    assert lock.read_text(encoding="utf-8") == WHOLE
    assert not (repository.path / ".dvc/tmp/rwlock").exists()  # DVC makes it again
    repository.run("dvc", "status")
    assert "cut off" not in repository.run("python", "-m", "pipeline", "mend")


def programs(folder: Path, **scripts: str) -> str:
    """A folder of shell scripts."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return str(folder)


def bare(repository: Clone, folder: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as cron would, with a Python in PATH that has no packages."""
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(repository.path)}
    return subprocess.run(
        command,
        cwd=repository.path,
        env=environment,
        capture_output=True,
        timeout=60,
        encoding="utf-8",
    )


ANOTHER = f'exec "{sys.executable}" -I -S "$@"'  # without the environment's packages


@pytest.mark.slow
def test_a_stage_leaves_a_python_without_packages(repository: Clone) -> None:
    """As where DVC is started by `python -m dvc` and finds another Python in PATH."""
    another = programs(repository.path / "other", python=f'exec "{sys.executable}" -S "$@"')
    (repository.path / "pipeline").unlink()
    shutil.copytree(ROOT / "pipeline", repository.path / "pipeline")
    (repository.path / "dvc.lock").write_text(WHOLE, encoding="utf-8")
    done = bare(repository, another, "python", "-m", "pipeline", "mend")
    assert done.returncode == 1
    assert "lacks the package dvc; run `make setup`" in done.stderr
    assert "Traceback" not in done.stderr
    programs(repository.path / ".venv/bin", python=f'exec "{another}/python" "$@"')
    done = bare(repository, another, "python", "-m", "pipeline", "mend")
    assert done.returncode == 1  # not for ever
    assert "lacks the package dvc" in done.stderr
    programs(repository.path / ".venv/bin", python=f'echo took it; exec "{sys.executable}" "$@"')
    done = bare(repository, another, "python", "-m", "pipeline", "mend")
    assert (done.returncode, done.stdout) == (0, "took it\n"), done.stderr


@pytest.mark.slow
def test_without_a_committed_lock_there_is_none(repository: Clone) -> None:
    repository.run("git", "rm", "--quiet", "--cached", "dvc.lock")
    repository.run("git", "commit", "--quiet", "--message", "without")
    repository.run("python", "-m", "pipeline", "mend")
    assert not (repository.path / "dvc.lock").exists()


@pytest.mark.slow
def test_what_dvc_is_writing_and_what_git_left_is_not_touched(repository: Clone) -> None:
    lock = repository.path / "dvc.lock"
    with (repository.path / DVC_LOCK).open("a", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        repository.run("python", "-m", "pipeline", "mend")
        assert lock.read_text(encoding="utf-8") == CUT
    conflict = WHOLE + "<<<<<<< ours\n  a:\n=======\n  b:\n>>>>>>> theirs\n"
    lock.write_text(conflict, encoding="utf-8")
    repository.run("python", "-m", "pipeline", "mend")
    assert lock.read_text(encoding="utf-8") == conflict


@pytest.mark.slow
def test_a_source_archive_without_git_runs(tmp_path: Path) -> None:
    """And goes on where it becomes a repository; settings of the user's own stay."""
    archive = subprocess.run(
        ["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    subprocess.run(["tar", "x", "-C", tmp_path], input=archive, check=True)
    for name in ("pipeline", ".dvc", "dvc.yaml"):  # with changes that are not committed yet
        path = tmp_path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("cache", "tmp", "config.local", "__pycache__")
            shutil.copytree(ROOT / name, path, ignore=ignored)
        else:
            shutil.copy(ROOT / name, path)
    config = tmp_path / ".dvc/config.local"

    def run(*words: str) -> str:
        done = subprocess.run(
            words, cwd=tmp_path, capture_output=True, check=True, encoding="utf-8"
        )
        return done.stdout + done.stderr

    run(sys.executable, "-m", "pipeline", "mend")
    assert "no_scm = true" in config.read_text(encoding="utf-8")
    run(sys.executable, "-m", "dvc", "status", "check")
    script = "from pipeline.engine.provenance import *; print(read_code_version())"
    assert "'commit': None" in run(sys.executable, "-c", script)
    run("git", "init", "--quiet")
    run(sys.executable, "-m", "pipeline", "mend")
    assert not config.exists()
    config.write_text("[core]\n    remote = mine\n", encoding="utf-8")
    run(sys.executable, "-m", "pipeline", "mend")
    assert "mine" in config.read_text(encoding="utf-8")


def test_the_commit_of_a_clone_of_another_user_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "clone", "-q", ROOT, tmp_path / "clone"], check=True)
    monkeypatch.chdir(tmp_path / "clone")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "true")  # of git's own tests
    bare = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, encoding="utf-8")
    assert "dubious ownership" in bare.stderr
    assert len(read_code_version()["commit"]) == 40
    assert read_code_version()["dirty"] is False
