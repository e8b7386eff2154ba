"""The table of the checkpoints that others trained and we evaluated."""

from typing import Any

import pandas as pd

from pipeline.common.params import Params
from pipeline.common.scores import first
from pipeline.reporting.measured import real, released_miou
from pipeline.reporting.tables import UNMEASURED, dagger

PROTOCOLS = {
    "whole": "whole images, one scale",
    "sliding": "sliding windows, one scale",
    "multi_scale": "several scales",
}
NOTE = (
    "Checkpoints that others trained, evaluated here: {protocol}, one confusion matrix over the "
    "validation split. The file is named by the first 12 digits of its sha256."
)


def published_miou(settings: Params, published: dict[str, Any]) -> tuple[float | None, str]:
    """mIoU in percent that the authors state for their released model, and its status.

    The mean of the classes' IoUs, which their README lists; none on other data than Cityscapes.
    """
    entry = published.get("cityscapes_val_class_iou")
    if entry is None or not real(settings, "cityscapes"):
        return None, ""
    return released_miou(published), str(entry["status"])


def notes(settings: Params) -> str:
    """What stands under the table."""
    note = NOTE.format(protocol=PROTOCOLS[settings.active.evaluate.protocols[0]])
    if real(settings, "cityscapes"):
        return note
    return f"{note} The data are not Cityscapes: **not comparable with published numbers**."


def table(
    settings: Params, results: dict[str, dict[str, Any]], published: dict[str, Any]
) -> pd.DataFrame:
    """A row for each of `checkpoints`; mIoU and pixel accuracy in percent."""
    miou, status = published_miou(settings, published)
    rows = []
    for name, given in settings.checkpoints.items():
        row: dict[str, Any] = {"checkpoint": name, "layout": given.layout}
        result = results.get(name)
        scores = first(result["scores"]) if result else {}
        row |= {
            "file": result["record"]["digest"][:12] if result else "",
            "classes": len(scores["class_iou"]) if result else None,
            "images": result["scores"]["images"] if result else None,
            "miou": 100 * scores["miou"] if result else None,
            "pixel_accuracy": 100 * scores["pixel_accuracy"] if result else None,
            "published": miou,
            "published_status": status,
        }
        rows.append(row)
    return pd.DataFrame(rows).astype({"classes": "Int64", "images": "Int64", "published": float})


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as a person reads it."""

    def number(value: Any, form: str, missing: str = "") -> str:
        return missing if pd.isna(value) else format(value, form)

    mark = frame["published_status"].map(dagger)
    columns = {
        "checkpoint": frame["checkpoint"],
        "layout": frame["layout"],
        "file": frame["file"],
        "classes": frame["classes"].map(lambda x: number(x, "d")),
        "images": frame["images"].map(lambda x: number(x, "d")),
        "mIoU": frame["miou"].map(lambda x: number(x, ".2f", UNMEASURED)),
        "pixel accuracy": frame["pixel_accuracy"].map(lambda x: number(x, ".2f")),
    }
    if frame["published"].notna().any():
        columns["authors' model mIoU"] = frame["published"].map(lambda x: number(x, ".1f")) + mark
    return pd.DataFrame(columns)
