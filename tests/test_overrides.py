"""`dvc exp run -S` and the stages read one file alike, and a key that is set is the only one."""

import json
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml

from pipeline.engine import yaml_file
from pipeline.settings import params
from tests.conftest import ROOT, copy_tracked

SHIPPED = ROOT / "params.yaml"
WRITTEN_OUT = (  # what the comments in params.yaml say
    ("cityscapes.network.options", "camvid.network.options"),
    ("ade20k.network", "cityscapes.network"),
    ("pascal_context.network", "cityscapes.network"),
    ("pascal_context.train.loss", "ade20k.train.loss"),
)


def copied(folder: Path) -> Path:
    file = folder / "params.yaml"
    file.write_bytes(SHIPPED.read_bytes())
    return file


def by_key(value: Any) -> dict[str, Any]:
    """The leaves of nested mappings and lists by their dotted keys."""
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {f"{k}.{i}".strip("."): v for k, x in items for i, v in by_key(x).items()}
    return {"": value}


def test_each_key_of_the_shipped_file_takes_a_value_of_its_own(tmp_path: Path) -> None:
    """Two places that share a value would both have the last one."""
    file = copied(tmp_path)
    values = {key: 10_000 + i for i, key in enumerate(by_key(yaml_file.read_yaml(file)))}
    assert len(values) > 300
    apply_overrides(file, [f"{key}={value}" for key, value in values.items()])
    assert by_key(yaml_file.read_yaml(file)) == values


@pytest.mark.parametrize(
    "key",
    [
        "profiles.camvid.network.options.form",
        "profiles.cityscapes.network.channels",
        "profiles.ade20k.train.loss.aux_weight",
        "profiles.pascal_context.network.contexts.ppm.width",
    ],
)
def test_a_key_changes_alone(key: str, tmp_path: Path) -> None:
    file = copied(tmp_path)
    before = by_key(load_yaml(file))
    apply_overrides(file, [f"{key}=1e-5"])
    assert by_key(yaml_file.read_yaml(file)) == before | {key: 1e-5}


def test_the_comments_on_what_is_written_out_are_true() -> None:
    profiles = yaml_file.read_yaml(SHIPPED)["profiles"]
    for pair in WRITTEN_OUT:
        one, other = (profiles for _ in pair)
        for step in pair[0].split("."):
            one = one[step]
        for step in pair[1].split("."):
            other = other[step]
        assert one == other, pair


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1e-5", 1e-5), ("5e-4", 5e-4), ("1E3", 1000.0), (".5", 0.5)),
        *(("0o17", 15), ("017", 17), ("0x1f", 31)),
        *(("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y")),
        *(("true", True), ("null", None), ("~", None), ("1:30", "1:30"), ("'1'", "1")),
    ],
)
def test_a_text_is_the_same_value_to_dvc_and_to_the_stages(
    text: str, value: object, tmp_path: Path
) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(f"key: {text}\n", encoding="utf-8")
    found = yaml_file.read_yaml(file)
    assert found == load_yaml(file) == {"key": value}
    assert type(found["key"]) is type(value)


def test_what_is_written_is_read_again_without_aliases(tmp_path: Path) -> None:
    shared = {"b": 1e-5, "a": [1.0, "no", None, "1e-5", "0o17"]}
    yaml_file.write_yaml(tmp_path / "params.yaml", {"x": shared, "y": shared})
    found = yaml_file.read_yaml(tmp_path / "params.yaml")
    assert found == {"x": shared, "y": shared}
    assert list(found["x"]) == ["b", "a"]


def test_a_learning_rate_in_powers_of_ten_is_a_number(tmp_path: Path) -> None:
    file = copied(tmp_path)
    text = file.read_text(encoding="utf-8")
    assert "lr: 0.003" in text
    file.write_text(text.replace("lr: 0.003", "lr: 3e-3"), encoding="utf-8")
    assert params.load(file).active == params.load(SHIPPED).active


@pytest.mark.slow
def test_dvc_changes_runs_and_tracks_the_key_that_it_is_given(tmp_path: Path) -> None:
    clone = copy_tracked(tmp_path)
    clone.commit()
    file, key = tmp_path / "params.yaml", "profiles.camvid.network.options.form"
    before = by_key(yaml_file.read_yaml(file))
    clone.run("dvc", "exp", "run", "-S", f"{key}=plain", "check")
    assert by_key(yaml_file.read_yaml(file)) == before | {key: "plain"}
    told = json.loads(clone.run("dvc", "params", "diff", "--json", "--targets", "params.yaml"))
    assert told["params.yaml"] == {key: {"old": "fast", "new": "plain"}}
    active = json.loads((tmp_path / "data/inputs/train/ann.json").read_text(encoding="utf-8"))
    assert active["values"]["network"]["options"]["form"] == "fast"  # embedded's is another key
