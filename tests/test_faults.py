"""What goes wrong is told in a sentence, and nothing that was there is lost."""

import errno
import fcntl
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric

from pipeline.data.prepared.store import Store
from pipeline.data.samples.loader import sample_indices
from pipeline.engine import checkpoint, errors, failures, files
from pipeline.engine.files import whole_file, whole_folder
from pipeline.scoring import evaluation
from pipeline.settings import params
from pipeline.settings.paths import locate_results
from pipeline.settings.runs import write_failure
from pipeline.stages import collect
from pipeline.training import loop
from pipeline.training.pace import Pace
from pipeline.training.run import Run
from pipeline.training.state import Training
from tests.conftest import ROOT, Clone
from tests.recorded import START, manifest
from tests.trainings import DATA, make


@pytest.fixture(scope="module")
def prepared(clone: Clone) -> Clone:
    clone.run("dvc", "repro", "--quiet", "prepare")
    return clone


@pytest.fixture
def training(
    prepared: Clone, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> Callable[..., Training]:
    """Makes a run in this process, with some of its settings changed."""
    monkeypatch.chdir(prepared.path)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    return make


def state_of(made: Training) -> dict[str, Any]:
    return checkpoint.load(made._state)[1]


@pytest.mark.parametrize("variant", ["baseline", "ann"])  # the blocks refuse NaN themselves
def test_weights_that_are_not_finite_end_the_run_and_spare_the_state(
    training: Callable[..., Training], variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = training(variant)
    step, spoil = Training.step, 3

    def stepped(self: Training, at: int, batch: Any) -> None:
        step(self, at, batch)
        if at == spoil:  # as by an update that overflows: this iteration's loss was still finite
            next(self.module.parameters()).data.fill_(torch.nan)

    monkeypatch.setattr(Training, "step", stepped)
    with pytest.raises(errors.RunError) as error:
        loop.fit(made, START)
    names = [made.store.names[i] for i in sample_indices(0, spoil, made.run.train.batch_size, 12)]
    assert f"at iteration {spoil + 1}, learning rate" in str(error.value)
    assert f"with the images {', '.join(names)};" in str(error.value)
    assert error.value.iteration == spoil + 1
    assert state_of(made) == {"iteration": spoil}
    # Where nothing is saved in between, the next loss tells.
    monkeypatch.setattr(loop, "SAVE_SECONDS", 1000.0)
    made = training(variant)
    with pytest.raises(errors.RunError, match=r"the loss is nan at iteration 5, learning rate"):
        loop.fit(made, START)


NO_MEMORY = (
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
)


@pytest.mark.parametrize("fault", NO_MEMORY, ids=lambda e: type(e).__name__)
def test_out_of_memory_says_what_to_lower_and_is_listed(
    training: Callable[..., Training], fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, settings = training("apnb"), params.load()

    def step(self: Training, at: int, batch: Any) -> None:
        if at == 2:
            raise fault

    monkeypatch.setattr(Training, "step", step)
    file = made.paths.failure
    attempt = partial(write_failure, settings, made.paths, "train", None)
    with pytest.raises(errors.RunError) as error, failures.record_failure(file, attempt):
        loop.fit(made, START)
    assert str(error.value) == (
        "apnb-0 ran out of memory on cpu with 2 samples of 64x128 at once; lower "
        "train.micro_batch to 1, or train.augment.crop"
    )
    collect.main()
    lines = [
        json.loads(line)
        for line in locate_results("embedded").read_text(encoding="utf-8").splitlines()
    ]
    told = {"version": 1, "kind": "failure", "variant": "apnb", "seed": 0, "stage": "train"}
    told |= {"reason": str(error.value), "at": 3}
    assert lines == [told]
    changed = settings.active.model_copy(
        update={"train": settings.active.train.model_copy(update={"iterations": 7})}
    )
    other = settings.model_copy(update={"profiles": {"embedded": changed}})
    assert collect.read_failure(other, made.paths) is None  # it failed with other settings
    with failures.record_failure(file, attempt):
        pass
    collect.main()
    assert locate_results("embedded").read_text(encoding="utf-8") == ""


def test_out_of_memory_in_evaluation(
    prepared: Clone, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    monkeypatch.chdir(prepared.path)

    def predict(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(evaluation, "predict", predict)
    settings = params.load().active.evaluate
    fabric = Fabric(accelerator="cpu", devices=1)
    sentence = (
        r"ann-0 ran out of memory with 8 images of 64x128 at once by the protocol whole; lower "
        r"evaluate\.batch_size to 4"
    )
    with pytest.raises(errors.RunError, match=sentence):
        evaluation.evaluate(
            None,  # type: ignore[arg-type]
            Store(DATA, "val"),
            settings,
            "ann-0",
            classes=19,
            background=False,
            fabric=fabric,
        )


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    with (
        pytest.raises(RuntimeError, match="shapes differ"),
        failures.convert_memory_errors(lambda: ("no", 1)),
    ):
        raise RuntimeError("shapes differ")


def test_a_kernel_that_is_not_repeatable_is_named() -> None:
    words = "does not have a deterministic implementation, but you set torch.use_deterministic"
    sentence = r"^ann-0: cumsum_cuda has no repeatable kernel on CUDA; set train\.deterministic to"
    with pytest.raises(errors.RunError, match=sentence), failures.convert_unrepeatable("ann-0"):
        raise RuntimeError(f"cumsum_cuda {words}")
    with pytest.raises(RuntimeError, match="another"), failures.convert_unrepeatable("ann-0"):
        raise RuntimeError("another")


def test_a_damaged_state_is_told_and_the_run_starts_again(
    training: Callable[..., Training], capsys: pytest.CaptureFixture[str]
) -> None:
    made = training("baseline", warmup=1)
    fresh = {k: v.clone() for k, v in made.module.state_dict().items()}
    made.save(4)
    whole = made._state.read_bytes()
    assert training("baseline", warmup=1).start == 4
    for damage in (whole[: len(whole) // 2], b"", whole[:100], b"\0" * 1000):
        made._state.write_bytes(damage)
        again = training("baseline", warmup=1)
        assert again.start == 0
        assert "state.safetensors is damaged; baseline-0 starts again" in capsys.readouterr().out
        assert all(torch.equal(v, fresh[k]) for k, v in again.module.state_dict().items())


def test_what_a_killed_writer_left_is_removed_and_never_taken(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = tmp_path / f".{path.name}.{gone.pid}.partial"
    living = tmp_path / f".{path.name}.{os.getppid()}.partial"
    left.write_text("half", encoding="utf-8")
    living.write_text("half", encoding="utf-8")
    with whole_file(path) as partial:
        partial.write_text("whole", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "whole"
    assert sorted(tmp_path.iterdir()) == sorted([living, path])


def test_a_folder_is_never_there_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tables"
    with whole_folder(path) as partial:
        (partial / "a").write_text("old", encoding="utf-8")
        (partial / "b").write_text("old", encoding="utf-8")
    remove, seen = files.shutil.rmtree, []

    def watched(folder: Path, **words: Any) -> None:
        assert folder != path  # else a kill would leave a part of it at its place
        seen.append(folder)
        remove(folder, **words)

    monkeypatch.setattr(files.shutil, "rmtree", watched)
    with whole_folder(path) as partial:
        (partial / "a").write_text("new", encoding="utf-8")
    assert [f.name for f in tmp_path.rglob("*")] == ["tables", "a"]
    assert seen


SAVES = """
import resource, torch
from pathlib import Path
from pipeline.engine import checkpoint, errors, files
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
def tensors(): checkpoint.save(Path("a/state.safetensors"), {{"x": torch.ones(99999)}}, iteration=1)
def text(): files.write_json(Path("a/record.json"), list(range(99999)))
errors.run({what})
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "name"), [("tensors", "state.safetensors"), ("text", "record.json")]
)
def test_a_disk_that_takes_no_more_is_one_sentence(what: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / f"a/{name}").write_text("before", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", SAVES.format(limit=20_000, what=what)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"error: a/{name}: a file may not grow that large here; all that was finished is kept, "
        f"and `dvc repro` resumes from here\n"
    )
    assert [f.name for f in (tmp_path / "a").iterdir()] == [name]
    assert (tmp_path / f"a/{name}").read_text(encoding="utf-8") == "before"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EACCES, "there is no permission"),
        (errno.EROFS, "the disk is read-only"),
    ],
)
def test_faults_of_the_disk(
    number: int, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def stage() -> None:
        with whole_file(tmp_path / "curve.csv"):
            raise OSError(number, os.strerror(number))

    with pytest.raises(SystemExit, match="1"):
        errors.run(stage)
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/curve.csv: {words}; all that")


def test_a_dvc_command_that_holds_the_lock_is_named(prepared: Clone) -> None:
    with (prepared.path / ".dvc/tmp/lock").open("r+", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(" 4711\n")
        lock.flush()
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "repro"],
            cwd=prepared.path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        assert process.stderr
        assert process.stderr.readline() == (
            "another DVC command (process 4711) holds the lock .dvc/tmp/lock; waiting for its end\n"
        )
        assert process.poll() is None
        process.terminate()
        process.wait()


def test_saving_and_tracking_keep_to_their_part_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pace = Pace(20.0, 50)
    for _ in range(100_000):
        now += 0.1
        if pace.is_due():
            with pace.count_time():
                now += 1.5
    assert 0.015 < pace.seconds_spent / now <= 0.02
    pace = Pace(20.0, 50)  # cheap: every 20 seconds
    start, times = now, 0
    while now < start + 1000:
        now += 0.1
        if pace.is_due():
            times += 1
            with pace.count_time():
                now += 0.01
    assert 48 <= times <= 50


def test_another_file_of_weights_is_another_run(tmp_path: Path) -> None:
    settings = params.load(ROOT / "params.yaml")
    file = tmp_path / "backbone.pth"
    network = settings.resolve_network("baseline") | {"weights": str(file)}
    train = settings.active.train
    data = manifest([])

    def fingerprint() -> str:
        run = Run("embedded", "baseline", 0, network, train, data, "float32", "cpu", 1)
        return run.fingerprint

    file.write_bytes(b"one")
    first = fingerprint()
    file.write_bytes(b"two")
    assert fingerprint() != first
