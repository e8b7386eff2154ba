"""What scores.json says of one protocol, and the confusion matrix that it comes from."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ann import Scores, confusion_matrix, scores
from pipeline.datasets import BACKGROUND
from pipeline.datasets.base import Pixels

Confusion = npt.NDArray[np.int64]


def count(labels: Pixels, ids: Pixels, classes: int, background: bool) -> Confusion:
    """(classes, classes) counts, rows the true class; one more of each with `background`.

    Background is the last row; the last column is empty, for no network predicts it.
    """
    if background:
        labels = np.where(labels == BACKGROUND, np.uint8(classes), labels)
    return confusion_matrix(labels, ids, classes + background)


def protocol_scores(
    confusion: Confusion, classes: list[str], categories: dict[str, list[int]] | None
) -> dict[str, Any]:
    """The scores of the matrix that `count` makes, as JSON values.

    With a row of background, miou_with_background is the mean over the classes and background,
    each predicted on background too; all other values leave background out. categories: the
    classes' ids by category.
    """
    inner = confusion[: len(classes), : len(classes)]
    result = scores(inner)
    told: dict[str, Any] = {
        "miou": result.miou,
        "pixel_accuracy": result.pixel_accuracy,
        "classes_present": result.classes_present,
        "class_iou": _by_name(list(classes), result),
    }
    if categories:
        merged = scores(merge(inner, list(categories.values())))
        told["category_iou"] = _by_name(list(categories), merged)
        told["category_miou"] = merged.miou
    if len(confusion) > len(classes):
        told["miou_with_background"] = scores(confusion).miou
    return told | {"confusion": confusion.tolist()}


def merge(confusion: Confusion, groups: list[list[int]]) -> Confusion:
    """The matrix of the groups, each class in exactly one."""
    member = np.zeros((len(groups), len(confusion)), np.int64)
    for row, group in zip(member, groups, strict=True):
        row[group] = 1
    return member @ confusion @ member.T


def _by_name(names: list[str], result: Scores) -> dict[str, float | None]:
    """IoU by name; None where it occurs nowhere."""
    iou = [None if np.isnan(x) else float(x) for x in result.class_iou]
    return dict(zip(names, iou, strict=True))
