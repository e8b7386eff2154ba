"""Scores from one confusion matrix over the whole dataset.

IoU of a class = TP / (TP + FP + FN), mIoU = the mean over the classes that occur in the labels,
as cityscapesscripts computes them. Never a mean of per-image scores.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ann.loss import IGNORE_INDEX


def confusion_matrix(
    labels: npt.NDArray[np.uint8], predictions: npt.NDArray[np.uint8], classes: int
) -> npt.NDArray[np.int64]:
    """(classes, classes) counts, rows the true class; pixels of IGNORE_INDEX are left out."""
    valid = labels != IGNORE_INDEX
    pairs = labels[valid].astype(np.int64) * classes + predictions[valid]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True)
class Scores:
    """miou, pixel_accuracy and class_iou in 0..1; an absent class is nan and not in the mean."""

    miou: float
    pixel_accuracy: float
    class_iou: npt.NDArray[np.float64]

    @property
    def classes_present(self) -> int:
        return int((~np.isnan(self.class_iou)).sum())


def scores(confusion: npt.NDArray[np.int64]) -> Scores:
    """The scores of a confusion matrix; a class without a single true pixel is absent."""
    hits = confusion.diagonal().astype(np.float64)
    true, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    if not true.sum():
        raise ValueError("no labelled pixel: there is nothing to score")
    iou = np.full(len(hits), np.nan)
    present = true > 0
    iou[present] = hits[present] / (true + predicted - hits)[present]
    return Scores(float(iou[present].mean()), float(hits.sum() / true.sum()), iou)
