"""What collect counts as a result: the run, the data and the settings of params.yaml, no other."""

import copy
import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import collect
from pipeline.common import params, yaml_file
from pipeline.common.failures import settings_of
from pipeline.common.paths import RunPaths
from tests.conftest import ROOT

SETTINGS = params.load(ROOT / "params.yaml")
Change = Callable[[dict[str, Any], dict[str, Any]], None]


def pair(variant: str = "ann", seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return record and scores of a run as params.yaml describes it."""
    train = SETTINGS.active.train.model_dump(mode="json") | {"precision": "bfloat16"}
    record = {
        "variant": variant,
        "seed": seed,
        "dataset": {"name": "cityscapes", "digest": "the data"},
        "backbone_sha256": None,
        "config": {"network": SETTINGS.network(variant), "train": train, "seed": seed},
    }
    scores = {"dataset_digest": "the data", "protocols": {"whole": {"miou": 0.5}}}
    return copy.deepcopy(record), scores


def set_in(which: int, value: Any, *keys: str) -> Change:
    """Change one value of the record (0) or of the scores (1)."""

    def change(*both: dict[str, Any]) -> None:
        place = both[which]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


OTHERS = {
    "scores of another dataset": set_in(1, "other data", "dataset_digest"),
    "trained on another dataset": set_in(0, "other data", "dataset", "digest"),
    "another network": set_in(0, 0.5, "config", "network", "dropout"),
    "another option": set_in(0, False, "config", "network", "options", "scale"),
    "one iteration more": set_in(0, 321, "config", "train", "iterations"),
    "another loss": set_in(0, 0.5, "config", "train", "loss", "aux_weight"),
    "another crop": set_in(0, [1, 2], "config", "train", "augment", "crop"),
    "no protocol": set_in(1, {}, "protocols"),
    "another protocol": set_in(1, {"sliding": {"miou": 0.5}}, "protocols"),
    "one protocol more": set_in(1, {"whole": {}, "sliding": {}}, "protocols"),
}


def test_a_run_counts_as_params_yaml_describes_it() -> None:
    assert collect.belongs(SETTINGS, *pair())
    record, scores = pair()
    record["config"]["train"]["precision"] = "float32"  # which `auto` resolves on each machine
    assert collect.belongs(SETTINGS, record, scores)


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_another_run_does_not_count(change: Change) -> None:
    record, scores = pair()
    change(record, scores)
    assert not collect.belongs(SETTINGS, record, scores)


def test_protocols_count_in_their_order() -> None:
    profile = SETTINGS.profiles["camvid"]
    settings = SETTINGS.model_copy(update={"profile": "camvid"})
    names = profile.evaluate.protocols
    assert collect.scored(settings, {"protocols": {key: {} for key in names}})
    assert not collect.scored(settings, {"protocols": {key: {} for key in names[::-1]}})
    assert not collect.scored(settings, {})


def test_weights_of_another_file_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "backbone.pth"
    profile = SETTINGS.active
    network = profile.network.model_copy(update={"weights": str(file)})
    profiles = {"embedded": profile.model_copy(update={"network": network})}
    settings = SETTINGS.model_copy(update={"profiles": profiles})
    record, scores = pair()
    record["config"]["network"] = settings.network("ann")
    record["backbone_sha256"] = hashlib.sha256(b"these").hexdigest()
    assert collect.belongs(settings, record, scores)  # without the file nobody can tell
    for content, counts in ((b"these", True), (b"those", False)):
        file.write_bytes(content)
        assert collect.belongs(settings, record, scores) == counts
    del record["backbone_sha256"]
    assert not collect.belongs(settings, record, scores)


def write_run(variant: str, seed: int, change: Change | None = None, rows: int = 3) -> None:
    """Write a run's files as its stages do."""
    paths = RunPaths("embedded", variant, seed)
    paths.folder.mkdir(parents=True)
    record, scores = pair(variant, seed)
    if change:
        change(record, scores)
    paths.record.write_text(json.dumps(record))
    paths.scores.write_text(json.dumps(scores))
    lines = [f"{i + 1},0.1,{seed}.{i}0" for i in range(rows)]
    paths.curve.write_text("\n".join(["iteration,lr,loss", *lines]))


def write_failure(variant: str, seed: int, stage: str, **changes: Any) -> None:
    paths = RunPaths("embedded", variant, seed)
    paths.folder.mkdir(parents=True, exist_ok=True)
    settings = settings_of(SETTINGS, variant, stage) | changes
    failure = {"variant": variant, "seed": seed, "stage": stage, "reason": "why", "at": 7}
    paths.failure.write_text(json.dumps(failure | {"settings": settings}))


def write_checkpoint(name: str, given: dict[str, str], protocols: list[str]) -> None:
    paths = RunPaths("embedded", name, None)
    paths.folder.mkdir(parents=True)
    paths.record.write_text(json.dumps({"checkpoint": given}))
    paths.scores.write_text(json.dumps({"protocols": {key: {} for key in protocols}}))


def test_the_lines_stand_in_the_order_of_params_yaml_and_only_what_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    listed = {n: {"file": f"{n}.pth", "layout": "authors"} for n in ("z", "kept", "stale", "none")}
    raw = yaml_file.read(ROOT / "params.yaml") | {"checkpoints": listed}
    yaml_file.write(Path("params.yaml"), raw)
    write_run("ann", 2)
    write_run("ann", 0, rows=101)
    write_run("baseline", 1)
    write_run("apnb", 0, OTHERS["scores of another dataset"])
    write_run("apnb", 1, OTHERS["one iteration more"])
    write_run("nb", 5)  # a seed that is not listed
    write_failure("nb", 0, "train")
    write_failure("nb", 1, "evaluate")
    write_failure("nb", 2, "train", train={})  # with other settings than now
    write_failure("apnb", 1, "train")
    write_failure("ann", 2, "train")  # past, because the run is there
    RunPaths("embedded", "fnb", 0).folder.mkdir()
    RunPaths("embedded", "fnb", 0).record.write_text("not finished")
    write_checkpoint("z", listed["z"], ["whole"])
    write_checkpoint("kept", listed["kept"], ["whole"])
    write_checkpoint("stale", listed["stale"] | {"layout": "mmseg"}, ["whole"])
    collect.main()

    lines = [json.loads(line) for line in collect.RESULTS.read_text(encoding="utf-8").splitlines()]
    runs = [(line["variant"], line["seed"]) for line in lines if "variant" in line]
    assert runs == [("baseline", 1), ("ann", 0), ("ann", 2)]
    for line in lines[:3]:
        record, scores = pair(line["variant"], line["seed"])
        assert line == line | {"record": record, "scores": scores}
    assert [line.get("checkpoint") for line in lines[3:5]] == ["z", "kept"]
    assert lines[3]["record"] == {"checkpoint": listed["z"]}
    assert lines[3]["scores"] == {"protocols": {"whole": {}}}
    assert lines[5:] == [
        {"failed": variant, "seed": seed, "stage": stage, "reason": "why", "at": 7}
        for variant, seed, stage in (
            ("nb", 0, "train"),
            ("nb", 1, "evaluate"),
            ("apnb", 1, "train"),
        )
    ]
    total = len(SETTINGS.variants) * len(SETTINGS.seeds)
    assert capsys.readouterr().out == f"3 of {total} runs are measured, 3 failed\n"
    assert b"\r" not in collect.CURVES.read_bytes()
    with collect.CURVES.open() as file:
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
    assert collect.RESULTS.read_text(encoding="utf-8") == ""
    assert collect.CURVES.read_text(encoding="utf-8") == "variant,seed,iteration,loss\n"
    assert capsys.readouterr().out.endswith(" runs are measured\n")
