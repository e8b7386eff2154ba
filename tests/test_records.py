"""The models of the files that stages write, and the page that is generated from them."""

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from pipeline.engine.errors import InputError
from pipeline.settings import params, records
from pipeline.settings.paths import RunPaths
from pipeline.settings.runs import write_failure
from tests import recorded
from tests.conftest import ROOT

PAGE = ROOT / "docs/results.md"
NETWORKS = records.read(records.NetworkCosts, ROOT / "reports/embedded/networks.json")
BLOCKS = records.read(records.BlockCosts, ROOT / "reports/efficiency/stage.json")
FAILURE = records.Failure(
    version=1,
    variant="ann",
    seed=0,
    stage="train",
    inputs={"values": {"lr": 0.1}, "code": {}},
    reason="why",
    at=7,
    fingerprint="f",
)
FILES = {  # a record of each kind, the file that has it, and what writes it again
    "manifest": (recorded.manifest(["a", "b"]), "data/prepared/camvid/manifest.json", "prepare"),
    "record": (recorded.RECORD, "runs/embedded/ann-0/record.json", "train@ann-0"),
    "checkpoint": (
        recorded.checkpoint(),
        "runs/embedded/released/record.json",
        "imported@released",
    ),
    "scores": (recorded.SCORES, "runs/embedded/ann-0/scores.json", "evaluate@ann-0"),
    "failure": (FAILURE, "runs/embedded/ann-0/failure.json", "delete the file"),
    "networks": (NETWORKS, "reports/embedded/networks.json", "networks"),
    "efficiency": (BLOCKS, "reports/efficiency/h200.json", "pipeline efficiency h200"),
}
CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no version": (lambda v: v.pop("version"), "version is missing"),
    "a later version": (lambda v: v.update(version=2), "version must be 1, got 2"),
    "a version of another type": (lambda v: v.update(version="1"), "version must be 1, got '1'"),
    "an unknown key": (lambda v: v.update(more=1), "more is not a known key"),
}
ADDED_KEYS = {"features"}  # which results of earlier releases do not have


def test_the_page_is_that_of_the_models() -> None:
    built = runpy.run_path(str(ROOT / ".ci/results_page.py"))["build_page"]()
    how = "docs/results.md is old; run `PYTHONPATH=. python .ci/results_page.py`"
    assert PAGE.read_text(encoding="utf-8") == built, how


def test_every_field_has_a_meaning_and_every_link_a_heading() -> None:
    text = PAGE.read_text(encoding="utf-8")
    headings = {heading.lower() for heading in re.findall(r"^### (\w+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#(\w+)\)", text)) <= headings
    assert "| None |" not in text  # a field without a description
    assert {model.lower() for model in ("Scores", "Speed", "Measurement")} <= headings


def test_the_pages_lines_rebuild_the_ablation_table(monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(code) == 1
    monkeypatch.chdir(ROOT)
    found: dict[str, Any] = {}
    exec(code[0], found)
    expected = pd.read_csv(ROOT / "reports/embedded/tables/ablation.csv").set_index("variant")
    pd.testing.assert_frame_equal(
        found["table"], expected[["miou", "sd", "n"]], atol=1e-4, rtol=0, check_dtype=False
    )


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_does_not_fit_is_refused_in_a_sentence(
    kind: str, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record, name, again = FILES[kind]
    recorded.write(Path(name), record)
    value = json.loads(Path(name).read_text(encoding="utf-8"))
    apply, problem = CHANGES[change]
    apply(value)
    Path(name).write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(InputError) as refused:
        records.read(type(record), Path(name))
    sentence = str(refused.value)
    assert sentence.startswith(f"{name}: {problem}")
    assert again in sentence
    assert "\n" not in sentence


def test_results_of_earlier_releases_can_be_read() -> None:
    value = {k: v for k, v in recorded.RECORD.as_json().items() if k not in ADDED_KEYS}
    assert records.parse(records.RunRecord, json.dumps(value), Path("x")) == recorded.RECORD


@pytest.mark.parametrize("kind", FILES)
def test_no_key_of_a_file_may_be_missing(kind: str) -> None:
    record, name, _ = FILES[kind]
    for key in type(record).model_fields.keys() - ADDED_KEYS:
        value = record.as_json()
        del value[key]
        with pytest.raises(InputError, match=f"^{name}: {key} is missing"):
            records.parse(type(record), json.dumps(value), Path(name))


def test_a_text_that_is_no_record_is_refused() -> None:
    for text, problem in (("{", "it is not valid JSON"), ("[]", "it must hold a JSON object")):
        with pytest.raises(InputError, match=rf"^runs/a/b-0/scores\.json: {problem}; run"):
            records.parse(records.Scores, text, Path("runs/a/b-0/scores.json"))


def test_a_line_that_does_not_fit_is_named_by_its_number() -> None:
    one = json.dumps(recorded.RUN.as_json())
    old = {k: v for k, v in recorded.RUN.as_json().items() if k not in ("version", "kind")}
    other = recorded.RUN.as_json() | {"kind": "other"}
    record = recorded.RECORD.as_json()
    del record["speed"]["seconds"]
    lacks = recorded.RUN.as_json() | {"record": record}
    for line, problem in (
        (old, "version is missing"),
        (other, "kind"),
        (lacks, "run.record.speed.seconds is missing"),
    ):
        with pytest.raises(InputError) as refused:
            records.read_lines(
                f"{one}\n{json.dumps(line)}\n", Path("reports/results/embedded.jsonl")
            )
        sentence = str(refused.value)
        assert sentence.startswith("reports/results/embedded.jsonl, line 2: ")
        assert problem in sentence
        assert "dvc repro -f -s collect" in sentence


def test_the_committed_files_are_the_same_bytes_again(tmp_path: Path) -> None:
    text = recorded.RESULTS.read_text(encoding="utf-8")
    assert "".join(json.dumps(line.as_json()) + "\n" for line in recorded.LINES) == text
    for file, model in (
        (ROOT / "reports/embedded/networks.json", records.NetworkCosts),
        *((file, records.BlockCosts) for file in (ROOT / "reports/efficiency").glob("*.json")),
    ):
        records.write(tmp_path / file.name, records.read(model, file))
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()


def test_a_failure_goes_to_its_file_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = params.load(ROOT / "params.yaml")
    paths = RunPaths("embedded", "ann", 0)
    monkeypatch.setattr("pipeline.settings.runs.of_run", lambda *_: FAILURE.inputs)
    monkeypatch.chdir(tmp_path)
    write_failure(loaded, paths, "train", "f", "why", 7)
    assert records.read(records.Failure, paths.failure) == FAILURE


def numbers(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the places of the floating-point numbers in a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found: list[tuple[Any, ...]] = []
    for key, inner in pairs:
        if isinstance(inner, dict | list):
            found += numbers(inner, (*path, key))
        elif isinstance(inner, float):
            found.append((*path, key))
    return found


@pytest.mark.parametrize("kind", ["record", "scores", "networks", "efficiency"])
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_any_number_survives_a_round_trip(kind: str, data: st.DataObject) -> None:
    record, name, _ = FILES[kind]
    value = record.as_json()
    places = [p for p in numbers(value) if not {"config", "settings"} & set(p)]
    *keys, last = data.draw(st.sampled_from(places))
    place = value
    for key in keys:
        place = place[key]
    place[last] = data.draw(st.floats(allow_nan=False, allow_infinity=False))
    made: BaseModel = records.parse(type(record), json.dumps(value), Path(name))
    assert made.model_dump(mode="json") == value
    assert type(record).model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize("kind", FILES)
def test_a_record_cannot_be_changed(kind: str) -> None:
    record, _, _ = FILES[kind]
    with pytest.raises(ValueError, match="frozen"):
        record.version = 1  # type: ignore[misc]


def test_the_models_need_no_torch() -> None:
    script = "import sys, pipeline.settings.records; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0
