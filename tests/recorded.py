"""Records for tests: the committed ones, with single values changed."""

import copy
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from pipeline.settings import records
from pipeline.settings.schema import Checkpoint
from tests.conftest import ROOT

RESULTS = ROOT / "reports/results/embedded.jsonl"
LINES = records.read_lines(RESULTS.read_text(encoding="utf-8"), RESULTS)
RUN = next(line for line in LINES if isinstance(line, records.RunLine))
RECORD, SCORES = RUN.record, RUN.scores
START = records.RunStart(**{k: v for k, v in RECORD if k in records.RunStart.model_fields})
M = TypeVar("M", bound=BaseModel)


def changed(record: M, changes: dict[str, Any]) -> M:
    """Return a record with other values, each by its keys with dots between."""
    value = copy.deepcopy(record.model_dump(mode="json"))
    for name, new in changes.items():
        *keys, last = name.split(".")
        place = value
        for key in keys:
            place = place[key]
        place[last] = new.model_dump(mode="json") if isinstance(new, BaseModel) else new
    return type(record).model_validate_json(json.dumps(value))


def split(**changes: Any) -> records.Split:
    """Return a split of a manifest."""
    values: dict[str, Any] = {"count": 1, "published": 1, "digest": "s", "pixels": {"a": 1}}
    return records.Split(**values | {"background_pixels": 0, "ignored_pixels": 0} | changes)


def manifest(classes: list[str], **changes: Any) -> records.Manifest:
    """Return a manifest of these classes, each with one pixel in both splits."""
    one = split(pixels=dict.fromkeys(classes, 1))
    values: dict[str, Any] = {
        "dataset": "cityscapes",
        "title": "drawn",
        "classes": classes,
        "background": False,
        "digest": "d",
        "splits": records.Splits(train=one, val=one),
    }
    return records.Manifest(version=1, **values | changes)


def scores(*protocols: str, **changes: Any) -> records.Scores:
    """Return the committed scores by these protocols, each with these values."""
    one = changed(SCORES.first, changes)
    named = dict.fromkeys(protocols or ("whole",), one)
    return changed(SCORES, {"protocols": {k: v.model_dump(mode="json") for k, v in named.items()}})


def run(variant: str, seed: int, miou: float, **changes: Any) -> records.RunLine:
    """Return the line of a run; the scores of `changes` are of its one protocol."""
    both = {"variant": variant, "seed": seed}
    of_record = {f"record.{key}": value for key, value in both.items()}
    return changed(RUN, both | of_record | {"scores": scores(miou=miou)} | changes)


def checkpoint_line(name: str, **changes: Any) -> records.CheckpointLine:
    """Return the line of an imported checkpoint."""
    line = records.CheckpointLine(
        version=1, kind="checkpoint", checkpoint=name, scores=SCORES, record=checkpoint()
    )
    return changed(line, changes)


def failure(variant: str, seed: int, reason: str = "x") -> records.FailureLine:
    """Return the line of a run that failed in training."""
    return records.FailureLine(
        version=1, kind="failure", variant=variant, seed=seed, stage="train", reason=reason, at=7
    )


def measurement(seconds: float, peak_bytes: int = 0) -> records.Measurement:
    return records.Measurement(
        seconds=seconds, peak_bytes=peak_bytes, memory_by="allocator", repeats=1
    )


def networks(*rows: dict[str, Any], **changes: Any) -> records.NetworkCosts:
    """Return the committed costs of networks with these rows instead."""
    file = records.read(records.NetworkCosts, ROOT / "reports/embedded/networks.json")
    known = file.networks[0].model_dump(mode="json")
    return changed(file, {"networks": [known | row for row in rows], **changes})


def blocks(rows: list[dict[str, Any]]) -> records.BlockCosts:
    """Return a committed file of blocks' costs with these rows instead."""
    file = records.read(records.BlockCosts, ROOT / "reports/efficiency/h200.json")
    known = file.blocks[0].model_dump(mode="json") | {"status": "measured"}
    return changed(file, {"blocks": [known | row for row in rows]})


def checkpoint(file: str = "a.pth", layout: str = "authors") -> records.CheckpointRecord:
    """Return the record of an imported checkpoint."""
    return records.CheckpointRecord(
        version=1,
        profile="embedded",
        checkpoint=Checkpoint.model_validate({"file": file, "layout": layout}),
        digest="0123456789abcdef",
        weights_sha256="w",
        network=RECORD.config.network,
        code=records.Code(commit=RECORD.code.commit, dirty=False),
        environment=records.Environment(
            **{k: v for k, v in RECORD.environment if k != "processes"}
        ),
    )


def write(path: Path, record: records.Record) -> None:
    """Write a record, and its folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    records.write(path, record)
