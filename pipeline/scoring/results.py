"""Compute the scores of one protocol from its confusion matrix."""

import numpy as np
import numpy.typing as npt

from ann import Scores, confusion_matrix, scores
from pipeline.data.formats import BACKGROUND
from pipeline.data.formats.base import Pixels
from pipeline.settings.records import ProtocolScores

Confusion = npt.NDArray[np.int64]


def count(labels: Pixels, ids: Pixels, classes: int, background: bool) -> Confusion:
    """Return the confusion matrix (classes, classes), a row for each true class.

    With `background` there is a last row for it, and a last column, which is empty because no
    network predicts background.
    """
    if background:
        labels = np.where(labels == BACKGROUND, np.uint8(classes), labels)
    return confusion_matrix(labels, ids, classes + background)


def protocol_scores(
    confusion: Confusion, classes: list[str], categories: dict[str, list[int]] | None
) -> ProtocolScores:
    """Return the scores of a confusion matrix.

    Args:
        confusion: The matrix of `count`.
        classes: The classes' names.
        categories: The classes' ids by category, None for no scores of categories.

    Returns:
        The scores. With a row of background, `miou_with_background` is the mean over the classes
        and background, and counts predictions on background. All other scores leave it out.
    """
    inner = confusion[: len(classes), : len(classes)]
    result = scores(inner)
    category_scores = scores(merge(inner, list(categories.values()))) if categories else None
    background = len(confusion) > len(classes)
    return ProtocolScores(
        miou=result.miou,
        pixel_accuracy=result.pixel_accuracy,
        classes_present=result.classes_present,
        class_iou=_name_ious(classes, result),
        category_iou=_name_ious(list(categories), category_scores)
        if categories and category_scores
        else None,
        category_miou=category_scores.miou if category_scores else None,
        miou_with_background=scores(confusion).miou if background else None,
        confusion=confusion.tolist(),
    )


def merge(confusion: Confusion, groups: list[list[int]]) -> Confusion:
    """Return the matrix of groups of classes; each class must be in exactly one."""
    member = np.zeros((len(groups), len(confusion)), np.int64)
    for row, group in zip(member, groups, strict=True):
        row[group] = 1
    return member @ confusion @ member.T


def _name_ious(names: list[str], result: Scores) -> dict[str, float | None]:
    """Return the IoUs by name; None for a class that occurs nowhere."""
    iou = [None if np.isnan(x) else float(x) for x in result.class_iou]
    return dict(zip(names, iou, strict=True))
