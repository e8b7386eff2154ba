"""What scores.json says of one protocol, from its confusion matrix."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ann import Scores, scores


def protocol_scores(confusion: npt.NDArray[np.int64], classes: list[str]) -> dict[str, Any]:
    """The scores of a confusion matrix (classes, classes), rows the true class, as JSON values."""
    result = scores(confusion)
    return {
        "miou": result.miou,
        "pixel_accuracy": result.pixel_accuracy,
        "classes_present": result.classes_present,
        "class_iou": _by_name(classes, result),
        "confusion": confusion.tolist(),
    }


def _by_name(names: list[str], result: Scores) -> dict[str, float | None]:
    """IoU by name; None where the class occurs nowhere."""
    iou = [None if np.isnan(x) else float(x) for x in result.class_iou]
    return dict(zip(names, iou, strict=True))
