"""Scores from one confusion matrix over the whole dataset.

The IoU of a class is TP / (TP + FP + FN). The mIoU is the mean over the classes that occur in the
labels or in the predictions, as cityscapesscripts computes it. It is not a mean of images' scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def confusion_matrix(
    labels: npt.NDArray[np.uint8], predictions: npt.NDArray[np.uint8], classes: int
) -> npt.NDArray[np.int64]:
    """Count the pixels of each true and predicted class, without those of IGNORE_INDEX.

    Most pixels equal their neighbour, so equal pixels in a row are counted at once. Maps that look
    like noise are counted pixel by pixel.

    Args:
        labels: Class ids, of any shape.
        predictions: The same.
        classes: The number of classes.

    Returns:
        (classes, classes), a row for each true class.
    """
    import numpy as np  # here, so that importing ann needs only torch

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
    """The scores of a dataset.

    Attributes:
        miou: In 0..1, the mean over the classes that are not absent.
        pixel_accuracy: In 0..1.
        class_iou: (classes,) in 0..1; nan for a class that is absent.
        classes_present: How many classes have a pixel in the labels.
    """

    miou: float
    pixel_accuracy: float
    class_iou: npt.NDArray[np.float64]
    classes_present: int


def scores(confusion: npt.NDArray[np.int64]) -> Scores:
    """Return the scores; a class that is neither labelled nor predicted is absent.

    Args:
        confusion: (classes, classes), of confusion_matrix.

    Raises:
        ValueError: There is no labelled pixel.
    """
    import numpy as np

    hits = confusion.diagonal()
    true, union = confusion.sum(axis=1), confusion.sum(axis=1) + confusion.sum(axis=0) - hits
    if not true.sum():
        raise ValueError("the labels must have at least one labelled pixel to score")
    iou = np.full(len(hits), np.nan)
    iou[union > 0] = hits[union > 0] / union[union > 0]
    valid = iou[union > 0]
    # The official script adds them one after the other; so the result equals it to the last bit.
    miou = float(valid.cumsum()[-1] / len(valid))
    return Scores(miou, float(hits.sum() / true.sum()), iou, int((true > 0).sum()))
