"""The table of the checkpoints that others trained and that are evaluated here."""

import pandas as pd

from pipeline.reporting import measured, provenance
from pipeline.reporting.columns import Column, Number, Row, Table
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.published import mark_status
from pipeline.reporting.sections import Section, TableFile
from pipeline.reporting.tables.rows import UNMEASURED
from pipeline.settings.schema import Params

PROTOCOLS = {
    "whole": "whole images, one scale",
    "sliding": "sliding windows, one scale",
    "multi_scale": "several scales",
}
NOTE = (
    "Checkpoints that others trained, evaluated here: {protocol}, one confusion matrix over the "
    "validation split. *file*: the first 12 digits of the file's sha256."
)
COLUMNS = (
    Column("checkpoint"),
    Column("layout"),
    Column("file"),
    Number("classes", format="d"),
    Number("images", format="d"),
    Number("miou", "mIoU", ".2f", UNMEASURED),
    Number("pixel_accuracy", "pixel accuracy", ".2f"),
)


def find_published_miou(
    settings: Params, published: measured.Published
) -> tuple[float | None, str]:
    """Return the mIoU in percent of the authors' released model, and its status.

    It is the mean of the classes' IoUs in their README. There is none on other data than
    Cityscapes.
    """
    entry = published.get("cityscapes_val_class_iou")
    if entry is None or not measured.is_real_data(settings, "cityscapes"):
        return None, ""
    return measured.compute_released_miou(published), str(entry["status"])


def explain_scores(settings: Params) -> str:
    """Return what stands below the table."""
    note = NOTE.format(protocol=PROTOCOLS[settings.active.evaluate.protocols[0]])
    if measured.is_real_data(settings, "cityscapes"):
        return note
    return f"{note} The data are not Cityscapes: **not comparable with published numbers**."


def build_frame(inputs: Inputs) -> pd.DataFrame:
    """Return a row for each of `checkpoints`; mIoU and pixel accuracy in percent."""
    settings = inputs.settings
    miou, status = find_published_miou(settings, inputs.published)
    rows = []
    for name, checkpoint in settings.checkpoints.items():
        row: Row = {"checkpoint": name, "layout": checkpoint.layout}
        result = inputs.imported.get(name)
        scores = result.scores.first if result else None
        row |= {
            "file": result.record.digest[:12] if result else "",
            "classes": len(scores.class_iou) if scores else None,
            "images": result.scores.images if result else None,
            "miou": 100 * scores.miou if scores else None,
            "pixel_accuracy": 100 * scores.pixel_accuracy if scores else None,
            "published": miou,
            "published_status": status,
        }
        rows.append(row)
    return pd.DataFrame(rows).astype({"classes": "Int64", "images": "Int64", "published": float})


def _format_published(row: Row) -> str:
    return f"{row['published']:.1f}{mark_status(row['published_status'])}"


def build_table(inputs: Inputs) -> Table:
    frame = build_frame(inputs)
    if frame["published"].isna().all():
        return Table(frame, COLUMNS)
    return Table(frame, (*COLUMNS, Number("published", "authors' model mIoU", _format_published)))


def build_section(inputs: Inputs) -> Section:
    """Return the section of the table."""
    table, words = build_table(inputs), explain_scores(inputs.settings)
    listed = inputs.settings.checkpoints
    known = [inputs.imported[name] for name in listed if name in inputs.imported]
    origin = provenance.find_origin(known)
    file = TableFile("imported", table, words, origin)
    title = "Imported"
    return Section("imported", title, table=table, notes=words, origin=origin, files=(file,))
