"""The loop over the iterations: what it steps, saves, sends and tells, and how it ends early."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.data.samples.loader import Batch
from pipeline.engine import weights
from pipeline.engine.errors import InputError, RunError, Stopped
from pipeline.engine.precision import resolve_precision
from pipeline.settings import records
from pipeline.training import loop, stop
from pipeline.training.pace import Pace
from pipeline.training.state import Training
from tests.recorded import RECORD, START, changed
from tests.test_steps import batch, make


class Source:
    """Stands in for the data: the batch of each iteration is the same but for its brightness."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def __call__(self, samples: Any, **asked: Any) -> Iterator[Batch]:
        self.asked = asked | {"seed": samples.seed, "settings": samples.options}
        for i in range(asked["start"], asked["stop"]):
            whole = batch()
            yield Batch(whole.images // (i + 1), whole.labels, whole.sample_ids)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    made = Source()
    monkeypatch.setattr(loop, "load_batches", made)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 1000.0)
    monkeypatch.setattr(loop, "TRACK_FIRST", 1000.0)
    return made


def test_every_iteration_is_one_step_with_its_own_batch(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    source: Source,
    capsys: pytest.CaptureFixture[str],
) -> None:
    by_hand = make(monkeypatch, tmp_path)
    for i, own in enumerate(source(loop.NumberedSamples(by_hand.store, None, 0), start=0, stop=8)):  # type: ignore[arg-type]
        by_hand.step(i, own)
    made = make(monkeypatch, tmp_path)
    made.model.eval()
    took = loop.fit(made, START)
    assert made.losses.tolist() == by_hand.losses.tolist()
    for ours, theirs in zip(made.module.parameters(), by_hand.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert source.asked == {
        "batch_size": 4,
        "start": 0,
        "stop": 8,
        "rank": 0,
        "world_size": 1,
        "workers": 0,
        "seed": 0,
        "settings": made.run.train.augment,
    }
    assert took.iterations == 8
    assert took.seconds > 0
    assert took.saving_seconds == took.tracking_seconds == 0
    assert took.peak_bytes >= 0
    assert took.memory_by
    assert not made._state.exists()
    told = capsys.readouterr()
    assert f"loss {made.losses[-1]:.3f}" in told.out + told.err


def test_a_run_goes_on_where_it_was_saved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Source
) -> None:
    whole = make(monkeypatch, tmp_path)
    loop.fit(whole, {})
    saved = []
    save, step = Training.save, Training.step

    def kept(self: Training, at: int) -> None:
        saved.append(at)
        save(self, at)

    def broken(self: Training, at: int, own: Batch) -> None:
        if at == 5:
            raise RunError("ended")
        step(self, at, own)

    monkeypatch.setattr(Training, "save", kept)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)  # after each iteration
    first = make(monkeypatch, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", broken)
        with pytest.raises(RunError, match="ended"):
            loop.fit(first, {})
    assert saved == [1, 2, 3, 4, 5]
    again = make(monkeypatch, tmp_path)
    assert again.start == 5
    took = loop.fit(again, {})
    assert took.iterations == 3
    assert took.saving_seconds > 0
    assert saved == [1, 2, 3, 4, 5, 6, 7]  # the end is written by `finish`
    assert again.losses.tolist() == whole.losses.tolist()


def test_sigterm_ends_a_run_with_its_state_saved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Source
) -> None:
    made, step = make(monkeypatch, tmp_path), Training.step
    before = signal.getsignal(signal.SIGTERM)

    def stepped(self: Training, at: int, own: Batch) -> None:
        step(self, at, own)
        if at == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Training, "step", stepped)
    with pytest.raises(Stopped, match=r"^baseline-0: stopped at iteration 3 of 8$"):
        loop.fit(made, START)
    assert signal.getsignal(signal.SIGTERM) is before
    assert make(monkeypatch, tmp_path).start == 3
    with stop.catch_sigterm() as asked:
        assert asked.is_requested is False


def in_turn(send: Callable[[], object]) -> Thread:
    """Send before the next iteration."""
    thread = Thread(target=send)
    thread.start()
    thread.join()
    return thread


def test_a_store_that_does_not_answer_delays_no_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Source
) -> None:
    answer, asked = Event(), []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "TRACK_SECONDS", 0.0)
    monkeypatch.setattr(loop, "TRACK_FIRST", 0.0)
    monkeypatch.setattr(loop, "send", lambda *_: asked.append(answer.wait(60)))
    made = make(monkeypatch, tmp_path)
    assert loop.fit(made, RECORD).iterations == 8
    assert asked == []  # the first one still waits, and no other was begun
    answer.set()


def test_the_curve_so_far_is_sent_with_the_record(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Source
) -> None:
    sent = []
    monkeypatch.setattr(loop, "TRACK_SECONDS", 0.0)
    monkeypatch.setattr(loop, "TRACK_FIRST", 0.0)
    monkeypatch.setattr(loop, "send", lambda record, curve: sent.append((record, curve)))
    monkeypatch.setattr(loop, "send_beside", in_turn)
    made = make(monkeypatch, tmp_path)
    took = loop.fit(made, RECORD)
    assert [record for record, _ in sent] == [RECORD] * 8
    assert [len(curve) for _, curve in sent] == list(range(1, 9))
    assert sent[-1][1] == made.curve(8)
    assert took.tracking_seconds >= 0


def test_a_lack_of_memory_names_what_to_lower(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Source
) -> None:
    def lacks(self: Training, at: int, own: Batch) -> None:
        raise MemoryError

    monkeypatch.setattr(Training, "step", lacks)
    for micro_batch, at_once, less in (
        (None, 4, "train.micro_batch to 2, or "),
        (3, 3, "train.micro_batch to 1, or "),
        (1, 1, ""),
    ):
        made = make(monkeypatch, tmp_path, micro_batch=micro_batch)
        with pytest.raises(RunError) as told:
            loop.fit(made, START)
        assert str(told.value) == (
            f"baseline-0 ran out of memory on cpu with {at_once} samples of 128x256 at once; "
            f"lower {less}train.augment.crop"
        )
        assert told.value.iteration == 1


def test_what_is_due_first_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    def due(pace: Pace, *times: float) -> list[bool]:
        answers = []
        for clock[0] in times:
            answers.append(pace.is_due())
        return answers

    pace = Pace(20.0, 10, first=5.0)
    assert due(pace, 104.9, 105.0) == [False, True]
    with pace.count_time():
        clock[0] = 108.0  # took 3 s, and one more would: 10 x 6 s after 100 s
    assert pace.seconds_spent == 3.0
    assert due(pace, 127.9, 159.9, 160.0) == [False, False, True]
    quick = Pace(20.0, 10)
    assert due(quick, 179.9, 180.0) == [False, True]
    with quick.count_time():
        pass
    assert due(quick, 199.9, 200.0) == [False, True]
    always = Pace(0.0, 10)
    assert always.is_due()
    with always.count_time():
        clock[0] = 300.0
    assert always.is_due()


def test_the_end_of_a_run_writes_its_files_and_drops_its_state(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Source
) -> None:
    from pipeline.engine import checkpoint
    from pipeline.engine.files import digest_file

    made = make(monkeypatch, tmp_path)
    speed = loop.fit(made, START)
    made.save(8)
    made.finish(START, speed)
    assert records.read(records.RunRecord, made.paths.record) == changed(
        RECORD, {"speed": speed, "weights_sha256": digest_file(made.paths.weights)}
    )
    tensors, about = checkpoint.load(made.paths.weights)
    assert about == {
        "network": made.run.network,
        "classes": ["a", "b", "c"],
        "dataset": "x",
        "backbone_sha256": None,
    }
    for name, tensor in made.module.state_dict().items():
        assert torch.equal(tensors[name], tensor)
    lines = made.paths.curve.read_bytes().split(b"\n")
    assert lines[0] == b"iteration,lr,loss"
    assert len(lines) == 10
    assert lines[1] == f"1,{made.lr(0)},{made.losses[0].item()}".encode()
    assert not made._state.parent.exists()


@pytest.mark.parametrize("found", [True, False])
def test_precision_is_what_the_hardware_is_fast_at(
    monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: found)
    expected = "bfloat16" if found else "float32"
    assert resolve_precision("auto", cpu) == expected
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: found)
    assert resolve_precision("auto", cpu) == expected
    for capability, fast in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert resolve_precision("auto", cuda) == ("bfloat16" if fast else "float32")
    assert resolve_precision("auto", torch.device("mps")) == "float32"
    assert resolve_precision("float32", cuda) == "float32"
    assert (resolve_precision("tf32", cuda), resolve_precision("tf32", cpu)) == ("tf32", "float32")


def test_imagenet_weights_go_to_the_backbone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def loaded(*words: Any) -> list[str]:
        asked.append(words)
        return []

    monkeypatch.setattr("pipeline.training.state.load_backbone", loaded)
    make(monkeypatch, tmp_path)
    assert asked == []  # the small backbone starts from nothing
    made = make(monkeypatch, tmp_path, network={"weights": "imagenet"})
    assert [(b is made.module.backbone, *words) for b, *words in asked] == [
        (True, "small", "imagenet")
    ]


def test_a_missing_file_of_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"network\.weights must be .* got '.*none\.pth'"):
        weights.load_backbone(nn.Module(), "resnet18", str(tmp_path / "none.pth"))
