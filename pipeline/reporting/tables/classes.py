"""The IoU of each of Cityscapes' classes beside that of the authors' released model."""

import pandas as pd

from pipeline.reporting import measured, provenance
from pipeline.reporting.columns import Column, Number, Row, Table
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.published import mark_status
from pipeline.reporting.sections import Section, TableFile
from pipeline.reporting.tables.rows import UNMEASURED
from pipeline.settings.records import Scores
from pipeline.settings.schema import Params

DATASET = "cityscapes"
AUTHORS = "authors' model"
PAIRS = (measured.BASELINE, measured.APNB, measured.ANN)


def build_frame(inputs: Inputs) -> pd.DataFrame:
    """Return a row for each class and for their mean, a column for each network.

    IoU in percent, mean over the seeds. A class that is not in the validation split is nan, and so
    is a network without a run.
    """
    settings, entry = inputs.settings, inputs.published["cityscapes_val_class_iou"]
    authors = pd.Series(entry["rows"], dtype=float)
    scores = {
        name: [r.scores for r in measured.select_runs(settings, inputs.results, DATASET, name)]
        for name in measured.list_published_variants(settings, *PAIRS)
    }
    checkpoints = measured.select_checkpoints(settings, inputs.imported, DATASET)
    scores |= {name: [result.scores] for name, result in checkpoints.items()}
    averages = {name: _average_seeds(own) for name, own in scores.items()}
    frame = pd.DataFrame(averages, authors.index)
    frame[AUTHORS] = authors
    frame.loc["mean"] = frame.mean()
    frame = (100 * frame).rename_axis("class").reset_index()
    return frame.assign(published_status=entry["status"])


def build_table(inputs: Inputs) -> Table:
    frame = build_frame(inputs)
    networks = [
        Number(name, format=".1f", missing=UNMEASURED if frame[name].isna().all() else "not in val")
        for name in _list_networks(frame)
    ]
    authors = Number(AUTHORS, format=_format_authors, missing="not in val")
    return Table(frame, (Column("class"), *networks, authors))


def build_section(inputs: Inputs) -> Section:
    """Return the section, which only links to the table's file."""
    table, records = build_table(inputs), _collect_records(inputs)
    origin = provenance.find_origin(records)
    notes = explain_columns(inputs.settings, table.frame)
    file = TableFile("cityscapes_classes", table, notes, origin)
    link = "Cityscapes by class: [tables/cityscapes_classes.md](tables/cityscapes_classes.md)."
    return Section("cityscapes_classes", notes=link, origin=origin, files=(file,))


def explain_columns(settings: Params, frame: pd.DataFrame) -> str:
    """Return what the columns are, and whether they may be compared."""
    text = (
        "IoU in percent on the validation split, mean over the seeds, by the first protocol of the "
        "profile's `evaluate`. *mean* is over the classes that occur. The authors' released "
        "model: Cityscapes val, ResNet-101, single scale, from their README."
    )
    unmeasured = frame[_list_networks(frame)].isna().all(axis=None)
    if unmeasured or measured.is_real_data(settings, DATASET):
        return text
    return f"{text} Our data are drawn scenes: **not comparable with the authors' column**."


def _list_networks(frame: pd.DataFrame) -> list[str]:
    return list(frame.columns.drop(["class", AUTHORS, "published_status"]))


def _format_authors(row: Row) -> str:
    return f"{row[AUTHORS]:.1f}{mark_status(row['published_status'])}"


def _collect_records(inputs: Inputs) -> list[provenance.Source]:
    settings = inputs.settings
    names = measured.list_published_variants(settings, *PAIRS)
    runs = [
        r.record for n in names for r in measured.select_runs(settings, inputs.results, DATASET, n)
    ]
    checkpoints = measured.select_checkpoints(settings, inputs.imported, DATASET)
    return [*runs, *checkpoints.values()]


def _average_seeds(scores: list[Scores]) -> "pd.Series[float]":
    """Return the mean over the seeds by class, of the first protocol of each."""
    return pd.DataFrame([s.first.class_iou for s in scores], dtype=float).mean()
