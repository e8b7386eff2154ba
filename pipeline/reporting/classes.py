"""The IoU of each of Cityscapes' classes beside that of the authors' released model."""

from typing import Any

import numpy as np
import pandas as pd

from pipeline.common.params import Params
from pipeline.common.scores import first
from pipeline.reporting import measured
from pipeline.reporting.results import Results
from pipeline.reporting.tables import UNMEASURED, dagger

DATASET = "cityscapes"
AUTHORS = "authors' model"
ROWS = (measured.BASELINE, measured.APNB, measured.ANN)


def table(
    settings: Params, results: Results, imported: dict[str, dict[str, Any]], published: Any
) -> pd.DataFrame:
    """A row a class and their mean, a column a network: IoU in percent, mean over the seeds.

    A class that is not in the validation split is nan, as is all of a network without a run.
    """
    entry = published["cityscapes_val_class_iou"]
    theirs = pd.Series(entry["rows"], dtype=float)
    found = {
        name: [r.scores for r in measured.runs(settings, results, DATASET, name)]
        for name in measured.as_published(settings, *ROWS)
    }
    checkpoints = measured.checkpoints(settings, imported, DATASET)
    found |= {name: [result["scores"]] for name, result in checkpoints.items()}
    frame = pd.DataFrame({name: _mean(scores) for name, scores in found.items()}, theirs.index)
    frame[AUTHORS] = theirs
    frame.loc["mean"] = frame.mean()
    frame = (100 * frame).rename_axis("class").reset_index()
    return frame.assign(published_status=entry["status"])


def records(
    settings: Params, results: Results, imported: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Of the runs and checkpoints that the table shows."""
    names = measured.as_published(settings, *ROWS)
    runs = [r.record for n in names for r in measured.runs(settings, results, DATASET, n)]
    return runs + [
        measured.record(c) for c in measured.checkpoints(settings, imported, DATASET).values()
    ]


def _mean(scores: list[dict[str, Any]]) -> "pd.Series[float]":
    """The mean over the seeds by class, of the first protocol of each."""
    firsts = [first(s) for s in scores]
    return pd.DataFrame([f["class_iou"] for f in firsts], dtype=float).mean()


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as a person reads it."""
    readable = frame[["class"]].copy()
    for column in frame.columns.drop(["class", "published_status"]):
        values = frame[column]
        missing = UNMEASURED if values.isna().all() else "not in val"
        mark = frame["published_status"].map(dagger) if column == AUTHORS else ""
        readable[column] = values.map(lambda x, m=missing: m if np.isnan(x) else f"{x:.1f}") + mark
    return readable


def notes(settings: Params, frame: pd.DataFrame) -> str:
    """Of what the columns are, and whether they may be compared."""
    text = (
        "IoU in percent on the validation split, mean over the seeds, by the first protocol that "
        "the profile's `evaluate` lists; *mean* is over the classes that occur. The authors' "
        "released model: Cityscapes val, ResNet-101, single scale, as their README lists it."
    )
    ours = frame.columns.drop(["class", AUTHORS, "published_status"])
    if frame[ours].isna().all(axis=None) or measured.real(settings, DATASET):
        return text
    return f"{text} Our data are drawn scenes: **not comparable with the authors' column**."
