"""The paper's comparison tables: the literature, other people's ANN, and what is measured here.

A figure of the test split and one of the val split never share a column.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from pipeline.common.params import Params
from pipeline.reporting import measured
from pipeline.reporting.results import Results
from pipeline.reporting.tables import DAGGER_NOTE, UNMEASURED, dagger

Row = dict[str, Any]
PROTOCOLS = {"whole": "val whole", "sliding": "val sliding", "multi_scale": "val multi-scale"}
SINGLE, MULTI, SD = "val single scale", "val multi-scale", " sd"
PUBLISHED = ("test multi-scale", SINGLE, MULTI)
TRAINED, IMPORTED = "trained here", "imported"


ABOUT = (
    "mIoU in percent; each column names the split, test or val, and the protocol. *multi-scale* of "
    "the literature is as the authors' README lists it; *single scale* is published figures by "
    "whole images or by windows, as their source does it. Rows *trained here* and *imported* are "
    "by the protocols of params.yaml: mean ± standard deviation over the seeds, on the real data "
    f"only. {DAGGER_NOTE}"
)


@dataclass(frozen=True)
class Comparison:
    """measures: each mIoU that a protocol's scores have on this dataset, and its columns' words."""

    title: str
    measures: dict[str, str]
    note: str = ""


COMPARISONS = {
    "cityscapes": Comparison("Cityscapes", {"miou": "", "category_miou": " category IoU"}),
    "ade20k": Comparison("ADE20K", {"miou": ""}),
    "pascal_context": Comparison(
        "PASCAL Context",
        {"miou": " 59 classes", "miou_with_background": " 60 classes"},
        "The 60 classes are the 59 and background. The source of the published figures does not "
        "say whether they count background, so they have a column of their own.",
    ),
}


def _literature(name: str, published: Row) -> Iterator[Row]:
    """Methods with multi-scale testing, on the split that the key names."""
    entry = published["literature"]
    for key, rows in entry.items():
        if key.startswith(f"{name}_"):
            column = f"{key.removeprefix(f'{name}_')} multi-scale"
            for method, backbone, miou in rows:
                own = "ANN, the paper" if method == "ANN" else method
                row = {"source": "literature", "method": own, "backbone": backbone}
                yield row | {column: miou, "status": entry["status"]}


def _authors(name: str, published: Row) -> Iterator[Row]:
    """The authors' own figures on Cityscapes val of the two networks that are trained here."""
    if name != "cityscapes":
        return
    row = {"source": "literature", "backbone": "ResNet-101"}
    entry = published["cityscapes_val_ablation"]
    for key, method in (("baseline", "baseline, the paper"), ("afnb+apnb", "ANN, the paper")):
        yield row | {"method": method, SINGLE: entry["rows"][key], "status": entry["status"]}
    entry = published["cityscapes_val_class_iou"]
    miou = round(measured.released_miou(published), 1)
    yield row | {"method": "ANN, released model", SINGLE: miou, "status": entry["status"]}


def _reproductions(name: str, published: Row) -> Iterator[Row]:
    """Other people's ANN on val."""
    entry = published["reproductions"]
    for row in entry["rows"]:
        if row["dataset"] != name:
            continue
        length = [f"{row[key]} {key}" for key in ("iterations", "epochs") if key in row]
        yield {
            "source": "reproduction",
            "method": f"ANN, {row['project']}",
            "backbone": row["backbone"],
            "training": ", ".join([f"crop {row['crop']}", *length]),
            "status": entry["status"],
        } | {column: row[key] for key, column in (("ss", SINGLE), ("ms", MULTI)) if key in row}


def _here(settings: Params, name: str, results: Results, imported: dict[str, Row]) -> Iterator[Row]:
    """The baseline and the full network, one a backbone, and the imported checkpoints."""
    real, profile = measured.real(settings, name), profile_of(settings, name)
    for variant in measured.as_published(settings, measured.BASELINE, measured.ANN):
        network = settings.network(variant, profile) if profile else {}
        runs = measured.runs(settings, results, name, variant) if real else []
        yield {
            "source": TRAINED,
            "method": variant,
            "backbone": _backbone(network),
            "n": len(runs),
        } | _figures(name, [run.scores for run in runs])
    found = measured.checkpoints(settings, imported, name) if real else {}
    for checkpoint, result in found.items():
        backbone = _backbone(result["record"]["network"])
        row = {"source": IMPORTED, "method": checkpoint, "backbone": backbone, "n": 1}
        yield row | _figures(name, [result["scores"]])


def _backbone(network: Row) -> str:
    return str(network.get("backbone", "-")).replace("resnet", "ResNet-")


def _figures(name: str, scores: list[Row]) -> Row:
    """Of each of our columns the mean and the standard deviation, in percent; nan without."""
    made = {}
    for measure, words in COMPARISONS[name].measures.items():
        for protocol, title in PROTOCOLS.items():
            found = [s["protocols"].get(protocol, {}).get(measure) for s in scores]
            values = [100 * v for v in found if v is not None]
            made[title + words] = np.mean(values) if values else np.nan
            made[title + words + SD] = np.std(values, ddof=1) if len(values) > 1 else np.nan
    return made


def records(
    settings: Params, name: str, results: Results, imported: dict[str, Row]
) -> Iterator[Row]:
    """Of the runs and checkpoints that the table shows."""
    if not measured.real(settings, name):
        return
    for variant in measured.as_published(settings, measured.BASELINE, measured.ANN):
        yield from (run.record for run in measured.runs(settings, results, name, variant))
    for found in measured.checkpoints(settings, imported, name).values():
        yield measured.record(found)


def profile_of(settings: Params, name: str) -> str | None:
    """The profile whose runs fill the table: the active one on these data, or the one so named."""
    if measured.real(settings, name):
        return settings.profile
    return name if name in settings.profiles else None


def table(
    settings: Params, name: str, results: Results, imported: dict[str, Row], published: Row
) -> pd.DataFrame:
    """A row a method, a column a split and protocol; mIoU in percent, nan where there is none."""
    others = [f(name, published) for f in (_literature, _authors, _reproductions)]
    rows = chain(*others, _here(settings, name, results, imported))
    frame = pd.DataFrame([{"training": "", "status": ""} | row for row in rows])
    ours = list(_figures(name, []))
    order = [c for c in PUBLISHED if c in frame and c not in ours] + ours
    frame = frame.reindex(
        columns=["source", "method", "backbone", "training", "status", "n", *order]
    )
    return frame.astype({"n": "Int64"})


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as a person reads it; a cell of ours is mean ± standard deviation."""
    rows: list[Row] = frame.to_dict("records")  # type: ignore[assignment]
    made = {key: [str(r[key]) for r in rows] for key in ("source", "method", "backbone")}
    made["training"] = [r["training"] or _seeds(r) for r in rows]
    for column in frame:
        if f"{column}{SD}" in frame or column in PUBLISHED:
            made[str(column)] = [_cell(r, str(column), f"{column}{SD}" in frame) for r in rows]
    return pd.DataFrame(made)


def _seeds(row: Row) -> str:
    return f"seeds: {row['n']}" if row["source"] == TRAINED else ""


def _cell(row: Row, column: str, ours: bool) -> str:
    """A published figure stands as it was published."""
    value, spread = row[column], row.get(f"{column}{SD}")
    if row["source"] in (TRAINED, IMPORTED):
        if pd.isna(value):
            return UNMEASURED if ours else ""
        return f"{value:.2f}" + ("" if pd.isna(spread) else f" ± {spread:.2f}")
    return "" if pd.isna(value) else f"{value}{dagger(row['status'])}"


def compact(frame: pd.DataFrame) -> pd.DataFrame:
    """As shown, without the second measure's columns as long as nothing is measured in them."""
    readable = shown(frame)
    extra = [c for c in readable if str(c).endswith(("category IoU", "60 classes"))]
    return readable.drop(columns=[c for c in extra if set(readable[c]) <= {"", UNMEASURED}])


def notes(settings: Params, name: str) -> str:
    """What is to be said of this table alone: how to measure our rows."""
    return "\n\n".join(filter(None, [COMPARISONS[name].note, _how(settings, name)]))


def _how(settings: Params, name: str) -> str:
    profile = profile_of(settings, name)
    if profile is None:
        return f"No profile in params.yaml is of {COMPARISONS[name].title}, to measure our rows."
    rows = measured.as_published(settings, measured.BASELINE, measured.ANN)
    runs = " ".join(f"evaluate@{row}-{settings.seeds[0]}" for row in rows)
    return (
        f"To measure our rows, set `profile: {profile}` and the data's folder as `dataset_dir` in "
        f"params.yaml and run `dvc repro {runs}`, for the other seeds likewise, then "
        f"`dvc repro -s collect figures pictures report track`; "
        f"`profiles.{profile}.evaluate` has the protocols."
    )
