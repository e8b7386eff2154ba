"""The scores against a loop and against the official Cityscapes evaluation."""

import os
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ann import confusion_matrix, scores
from pipeline.commands.submit import list_label_values
from pipeline.data.formats import DATASETS
from pipeline.scoring.categories import categories
from pipeline.scoring.results import BACKGROUND, count, protocol_scores

CITYSCAPES = DATASETS["cityscapes"]


@pytest.mark.parametrize("side", [1, 20], ids=["noise", "regions"])
def test_confusion_matrix_is_the_loop(side: int) -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 4, (2, 2, 9, 7)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.2] = 255
    labels, predictions = (x.repeat(side, 1).repeat(side, 2) for x in (labels, predictions))
    pairs = labels.ravel().astype(int) * 256 + predictions.ravel()
    assert (np.mean(pairs[1:] != pairs[:-1]) > 1 / 8) == (side == 1)  # each way of counting
    expected = np.zeros((4, 4), int)
    for true, predicted in zip(labels.flat, predictions.flat, strict=True):
        if true != 255:
            expected[true, predicted] += 1
    assert not np.array_equal(expected, expected.T)
    counts = confusion_matrix(labels, predictions, 4)
    assert np.array_equal(counts, expected)
    assert counts.dtype == np.int64


def test_both_ways_of_counting_take_one_pixel_and_every_byte() -> None:
    for value in (0, 3, 254):  # one pixel has no neighbour
        pixel = np.array([[value]], np.uint8)
        expected = np.zeros((255, 255), int)
        expected[value, value] = 1
        assert np.array_equal(confusion_matrix(pixel, pixel, 255), expected)
    labels = np.arange(255, dtype=np.uint8).repeat(9)  # a run of each class
    counts = confusion_matrix(labels, labels[::-1].copy(), 255)
    assert np.array_equal(counts, 9 * np.fliplr(np.eye(255, dtype=int)))


def test_scores_by_hand() -> None:
    confusion = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])
    result = scores(confusion)
    np.testing.assert_allclose(result.class_iou, [3 / 6, 4 / 7, np.nan])
    assert result.miou == (3 / 6 + 4 / 7) / 2
    assert result.pixel_accuracy == 0.7
    assert result.classes_present == 2
    with pytest.raises(ValueError, match="at least one labelled pixel"):
        scores(np.zeros((2, 2), np.int64))


def test_equal_to_the_official_cityscapes_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "CITYSCAPES_DATASET", str(tmp_path))
    official = import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")

    rng = np.random.default_rng(0)
    ids = list_label_values(CITYSCAPES)
    files: tuple[list[str], list[str]] = ([], [])
    total = np.zeros((19, 19), np.int64)
    for i in range(3):
        truth = rng.integers(0, 34, (40, 60)).astype(np.uint8)  # all known ids, ignored ones too
        truth[truth == ids[16]] = 0  # one class is never labelled
        predicted = rng.choice(np.delete(np.arange(19), 16), truth.shape)  # nor predicted
        easy = (rng.random(truth.shape) < 0.7) & (CITYSCAPES.lookup[truth] < 19)
        predicted = np.where(easy, CITYSCAPES.lookup[truth], predicted).astype(np.uint8)
        total += confusion_matrix(CITYSCAPES.lookup[truth], predicted, 19)
        for paths, name, values in zip(
            files, ("prediction", "truth"), (ids[predicted], truth), strict=True
        ):
            path = tmp_path / f"city_{i}_{name}_labelIds.png"
            Image.fromarray(values).save(path)
            paths.append(str(path))
    args = official.args
    args.evalInstLevelScore, args.JSONOutput, args.quiet = False, False, True
    theirs = official.evaluateImgLists(*files, args)
    ours = scores(total)
    assert ours.miou == theirs["averageScoreClasses"]
    assert ours.classes_present == 18
    classes = list(CITYSCAPES.classes)
    told = protocol_scores(total, classes, categories(classes))
    assert told.miou == theirs["averageScoreClasses"]
    assert told.category_miou == theirs["averageScoreCategories"]
    for kind, ious in (("class", told.class_iou), ("category", told.category_iou)):
        official_ious = {
            name: None if np.isnan(iou) else iou
            for name, iou in theirs[f"{kind}Scores"].items()
            if name in ious
        }
        assert ious == official_ious
        assert len(ious) == {"class": 19, "category": 7}[kind]
        assert (None in ious.values()) == (kind == "class")
    assert categories(["road", "sky"]) is None


def test_background_counts_in_its_own_mean_only() -> None:
    classes = ["a", "b"]
    labels = np.array([0, 0, 0, 1, 1, BACKGROUND, BACKGROUND, BACKGROUND, 255], np.uint8)
    predicted = np.array([0, 0, 1, 1, 1, 0, 0, 1, 1], np.uint8)
    counts = count(labels, predicted, 2, background=True)
    assert counts.tolist() == [[2, 1, 0], [0, 2, 0], [2, 1, 0]]
    told = protocol_scores(counts, classes, None)
    assert told.class_iou == {"a": 2 / 3, "b": 2 / 3}
    assert told.miou == pytest.approx(2 / 3)
    assert told.pixel_accuracy == 4 / 5
    assert told.miou_with_background == pytest.approx((2 / 5 + 2 / 4 + 0) / 3)
    plain = count(labels[labels != BACKGROUND], predicted[labels != BACKGROUND], 2, False)
    without = protocol_scores(plain, classes, None)
    assert without.miou_with_background is None
    apart = {"confusion", "miou_with_background"}
    assert told.model_dump(exclude=apart) == without.model_dump(exclude=apart)
