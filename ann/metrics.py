"""Scores from one confusion matrix over the whole dataset.

IoU of a class = TP / (TP + FP + FN), mIoU = the mean over the classes that occur in the labels or
the predictions, as cityscapesscripts computes them. Never a mean of per-image scores.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch


def confusion_matrix(
    labels: npt.NDArray[np.uint8], predictions: npt.NDArray[np.uint8], classes: int
) -> npt.NDArray[np.int64]:
    """(classes, classes) counts, rows the true class; pixels of IGNORE_INDEX are left out.

    Regions are counted run by run, since most pixels are as their neighbour is; maps that are more
    like noise pixel by pixel.
    """
    label, predicted = labels.ravel(), predictions.ravel()
    change = (label[1:] != label[:-1]) | (predicted[1:] != predicted[:-1])
    if np.count_nonzero(change) > len(change) / 8:
        code = torch.from_numpy(label.astype(np.int32) * 256 + predicted)
        counts = torch.bincount(code, minlength=256 * 256).numpy()
    else:
        starts = np.concatenate([[0], np.flatnonzero(change) + 1])
        lengths = np.diff(starts, append=len(label))
        code = label[starts].astype(np.int64) * 256 + predicted[starts]
        counts = np.bincount(code, lengths, minlength=256 * 256).astype(np.int64)
    return counts.reshape(256, 256)[:classes, :classes]


@dataclass(frozen=True)
class Scores:
    """miou, pixel_accuracy and class_iou in 0..1; an absent class is nan and not in the mean.

    classes_present: how many classes have a pixel in the labels.
    """

    miou: float
    pixel_accuracy: float
    class_iou: npt.NDArray[np.float64]
    classes_present: int


def scores(confusion: npt.NDArray[np.int64]) -> Scores:
    """The scores; a class that is neither labelled nor predicted is absent."""
    hits = confusion.diagonal()
    true, union = confusion.sum(axis=1), confusion.sum(axis=1) + confusion.sum(axis=0) - hits
    if not true.sum():
        raise ValueError("no labelled pixel: there is nothing to score")
    iou = np.full(len(hits), np.nan)
    iou[union > 0] = hits[union > 0] / union[union > 0]
    valid = iou[union > 0]
    # Added one after the other, as the official script does: equal to it to the last bit.
    miou = float(valid.cumsum()[-1] / len(valid))
    return Scores(miou, float(hits.sum() / true.sum()), iou, int((true > 0).sum()))
