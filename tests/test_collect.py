"""What collect counts as a result: the run, the data and the settings of params.yaml, no other."""

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine import yaml_file
from pipeline.engine.errors import InputError
from pipeline.settings import params, records
from pipeline.settings.inputs import of_run
from pipeline.settings.paths import ReportPaths, RunPaths
from pipeline.settings.records import RunRecord, Scores
from pipeline.stages import collect
from tests import recorded
from tests.conftest import ROOT
from tests.recorded import changed

SETTINGS = params.load(ROOT / "params.yaml")
PATHS = ReportPaths("embedded")
Pair = tuple[RunRecord, Scores]
Change = Callable[[RunRecord, Scores], Pair]


def pair(variant: str = "ann", seed: int = 0) -> Pair:
    """Return record and scores of a run as params.yaml describes it."""
    train = SETTINGS.active.train.model_dump(mode="json") | {"precision": "bfloat16"}
    described = {
        "variant": variant,
        "seed": seed,
        "dataset.digest": "the data",
        "config": {"network": SETTINGS.resolve_network(variant), "train": train, "seed": seed},
    }
    scores = changed(recorded.scores("whole"), {"dataset_digest": "the data"})
    return changed(recorded.RECORD, described), scores


def set_in(which: int, value: Any, key: str) -> Change:
    """Change one value of the record (0) or of the scores (1)."""

    def change(record: RunRecord, scores: Scores) -> Pair:
        if which:
            return record, changed(scores, {key: value})
        return changed(record, {key: value}), scores

    return change


def by(*protocols: str) -> Any:
    return recorded.scores(*protocols).as_json()["protocols"] if protocols else {}


OTHERS = {
    "scores of another dataset": set_in(1, "other data", "dataset_digest"),
    "trained on another dataset": set_in(0, "other data", "dataset.digest"),
    "another network": set_in(0, 0.5, "config.network.dropout"),
    "another option": set_in(0, False, "config.network.options.scale"),
    "one iteration more": set_in(0, 321, "config.train.iterations"),
    "another loss": set_in(0, 0.5, "config.train.loss.aux_weight"),
    "another crop": set_in(0, [1, 2], "config.train.augment.crop"),
    "no protocol": set_in(1, by(), "protocols"),
    "another protocol": set_in(1, by("sliding"), "protocols"),
    "one protocol more": set_in(1, by("whole", "sliding"), "protocols"),
}


def test_a_run_counts_as_params_yaml_describes_it() -> None:
    assert collect.is_current(SETTINGS, *pair())
    record, scores = pair()
    other = changed(record, {"config.train.precision": "float32"})  # what `auto` is elsewhere
    assert collect.is_current(SETTINGS, other, scores)


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_another_run_does_not_count(change: Change) -> None:
    assert not collect.is_current(SETTINGS, *change(*pair()))


def test_protocols_count_in_their_order() -> None:
    profile = SETTINGS.profiles["cityscapes"]
    settings = SETTINGS.model_copy(update={"profile": "cityscapes"})
    names = profile.evaluate.protocols
    assert collect.has_current_protocols(settings, recorded.scores(*names))
    assert not collect.has_current_protocols(settings, recorded.scores(*names[::-1]))


def test_weights_of_another_file_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "backbone.pth"
    profile = SETTINGS.active
    network = profile.network.model_copy(update={"weights": str(file)})
    profiles = {"embedded": profile.model_copy(update={"network": network})}
    settings = SETTINGS.model_copy(update={"profiles": profiles})
    record, scores = pair()
    digest = hashlib.sha256(b"these").hexdigest()
    described = {"config.network": settings.resolve_network("ann"), "backbone_sha256": digest}
    record = changed(record, described)
    assert collect.is_current(settings, record, scores)  # without the file nobody can tell
    for content, counts in ((b"these", True), (b"those", False)):
        file.write_bytes(content)
        assert collect.is_current(settings, record, scores) == counts
    assert not collect.is_current(settings, changed(record, {"backbone_sha256": None}), scores)


def write_run(variant: str, seed: int, change: Change | None = None, rows: int = 3) -> None:
    """Write a run's files as its stages do."""
    paths = RunPaths("embedded", variant, seed)
    paths.folder.mkdir(parents=True)
    record, scores = pair(variant, seed)
    if change:
        record, scores = change(record, scores)
    records.write(paths.record, record)
    records.write(paths.scores, scores)
    lines = [f"{i + 1},0.1,{seed}.{i}0" for i in range(rows)]
    paths.curve.write_text("\n".join(["iteration,lr,loss", *lines]))


def write_failure(variant: str, seed: int, stage: records.Stage, **changes: Any) -> None:
    failure = records.Failure(
        version=1,
        variant=variant,
        seed=seed,
        stage=stage,
        inputs=of_run(SETTINGS, stage, variant) | changes,
        reason="why",
        at=7,
        fingerprint=None,
    )
    recorded.write(RunPaths("embedded", variant, seed).failure, failure)


def write_checkpoint(name: str, given: dict[str, str], *protocols: str) -> None:
    paths = RunPaths("embedded", name, None)
    recorded.write(paths.record, recorded.checkpoint(**given))
    recorded.write(paths.scores, recorded.scores(*protocols))


def test_the_lines_stand_in_the_order_of_params_yaml_and_only_what_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    listed = {n: {"file": f"{n}.pth", "layout": "authors"} for n in ("z", "kept", "stale", "none")}
    raw = yaml_file.read_yaml(ROOT / "params.yaml") | {"checkpoints": listed}
    yaml_file.write_yaml(Path("params.yaml"), raw)
    write_run("ann", 2)
    write_run("ann", 0, rows=101)
    write_run("baseline", 1)
    write_run("apnb", 0, OTHERS["scores of another dataset"])
    write_run("apnb", 1, OTHERS["one iteration more"])
    write_run("nb", 50)  # a seed that is not listed
    write_failure("nb", 0, "train")
    write_failure("nb", 1, "evaluate")
    write_failure("nb", 2, "train", values={})  # with other settings than now
    write_failure("apnb", 1, "train")
    write_failure("ann", 2, "train")  # past, because the run is there
    RunPaths("embedded", "fnb", 0).folder.mkdir()
    RunPaths("embedded", "fnb", 0).record.write_text("not finished")
    write_checkpoint("z", listed["z"], "whole")
    write_checkpoint("kept", listed["kept"], "whole")
    write_checkpoint("stale", listed["stale"] | {"layout": "mmseg"}, "whole")
    collect.main()

    text = PATHS.results.read_text(encoding="utf-8")
    lines = records.read_lines(text, PATHS.results)
    assert [line.kind for line in lines] == 3 * ["run"] + 2 * ["checkpoint"] + 3 * ["failure"]
    runs = [(line.variant, line.seed) for line in lines if line.kind == "run"]
    assert runs == [("baseline", 1), ("ann", 0), ("ann", 2)]
    for line in lines:
        if line.kind == "run":
            assert (line.record, line.scores) == pair(line.variant, line.seed)
        if line.kind == "checkpoint":
            assert line.record == recorded.checkpoint(**listed[line.checkpoint])
            assert line.scores == recorded.scores("whole")
    assert [line.checkpoint for line in lines if line.kind == "checkpoint"] == ["z", "kept"]
    failed = [(line.variant, line.seed, line.stage) for line in lines if line.kind == "failure"]
    assert failed == [("nb", 0, "train"), ("nb", 1, "evaluate"), ("apnb", 1, "train")]
    assert json.loads(text.splitlines()[5]) == {
        "version": 1,
        "kind": "failure",
        "variant": "nb",
        "seed": 0,
        "stage": "train",
        "reason": "why",
        "at": 7,
    }
    total = len(SETTINGS.rows) * len(SETTINGS.seeds)
    assert capsys.readouterr().out == f"3 of {total} runs are measured, 3 failed\n"
    assert b"\r" not in PATHS.curves.read_bytes()
    with PATHS.curves.open() as file:
        header, *curves = csv.reader(file)
    assert header == ["variant", "seed", "iteration", "loss"]
    assert curves[:3] == [["baseline", "1", str(i + 1), f"1.{i}0"] for i in range(3)]
    assert curves[3:-3] == [["ann", "0", str(i + 1), f"0.{i}0"] for i in (*range(1, 101, 2), 100)]
    assert curves[-3:] == [["ann", "2", str(i + 1), f"2.{i}0"] for i in range(3)]


def test_nothing_measured_is_two_empty_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", ".")
    collect.main()
    assert PATHS.results.read_text(encoding="utf-8") == ""
    assert PATHS.curves.read_text(encoding="utf-8") == "variant,seed,iteration,loss\n"
    assert capsys.readouterr().out.endswith(" runs are measured\n")


def test_committed_runs_are_not_overwritten_with_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a fresh clone, where a stage that is run by hand finds no run."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", ".")
    for path in (PATHS.results, PATHS.curves):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, path)
    before = PATHS.results.read_bytes(), PATHS.curves.read_bytes()
    with pytest.raises(InputError, match=r"embedded\.jsonl would lose its runs"):
        collect.main()
    assert (PATHS.results.read_bytes(), PATHS.curves.read_bytes()) == before
