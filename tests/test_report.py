"""The tables: what they say follows from the results, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.common import params
from pipeline.reporting import imported, tables
from pipeline.reporting.results import Result, Results, differences, mean, spread, told_apart
from tests.conftest import ROOT

SETTINGS = params.load(ROOT / "params.yaml")
PUBLISHED = yaml.safe_load((ROOT / "reports/published.yaml").read_text())


def scored(scores: dict[str, Any]) -> dict[str, Any]:
    """scores.json with these scores as the first protocol's, and others after it."""
    return {"images": 7, "protocols": {"sliding": scores, "whole": {"miou": 0.0}}}


def runs(variant: str, *mious: float) -> list[Result]:
    return [Result(variant, i, scored({"miou": m / 100}), {}) for i, m in enumerate(mious)]


def results(**measured: list[float]) -> Results:
    return {name: runs(name, *measured.get(name, [])) for name in SETTINGS.variants}


def test_mean_spread_and_differences_by_hand() -> None:
    a, b = runs("a", 50, 52, 57), runs("b", 49, 52, 55)
    assert mean(a) == pytest.approx(53)
    assert spread(a) == pytest.approx(13**0.5)
    assert differences(a, b) == pytest.approx([1, 0, 2])
    assert differences(a, b[1:]) == pytest.approx([0, 2])  # equal seeds only


@pytest.mark.parametrize(
    ("a", "b", "apart"),
    [
        ([50, 52, 57], [40, 42.5, 46.8], True),  # differences 10, 9.5, 10.2
        ([50, 52, 57], [49, 54, 56], False),
        ([50, 52, 57], [50, 52, 57], False),
        ([50], [10], False),  # one seed tells nothing
    ],
)
def test_told_apart(a: list[float], b: list[float], apart: bool) -> None:
    assert told_apart(runs("a", *a), runs("b", *b)) is apart


def test_published_values_stand_only_where_the_paper_has_the_row() -> None:
    def published(name: str, **changes: object) -> tuple[float | None, float | None]:
        variant = SETTINGS.variants[name].model_copy(update=changes)
        return (
            tables.published_ablation(variant, PUBLISHED),
            tables.published_sampling(variant, PUBLISHED),
        )

    assert published("baseline") == (75.8, None)
    assert published("common_nb") == (79.0, None)
    assert published("ann") == (79.9, 79.9)
    assert published("apnb", pool_sizes=[1, 3, 6, 7]) == (None, None)
    assert published("apnb", sampling="pyramid_max") == (None, None)
    assert published("max15") == (None, 78.1)
    assert published("baseline", context="apnb", fusion="common") == (None, None)


def test_every_row_of_the_papers_tables_is_there() -> None:
    measured = results()
    for make, source in (
        (tables.ablation, "cityscapes_val_ablation"),
        (tables.sampling, "cityscapes_val_sampling"),
    ):
        frame = make(SETTINGS, measured, PUBLISHED)
        rows = PUBLISHED[source]["rows"]
        figures = rows.values() if isinstance(rows, dict) else [r["miou"] for r in rows]
        assert sorted(frame["published"]) == sorted(figures)
        assert set(frame["published_status"]) == {"transcribed"}
        readable = tables.shown(frame)
        assert set(readable["mIoU"]) == {"not measured"}
        assert all(value.endswith("†") for value in readable["paper mIoU"])


def test_imported_checkpoints_stand_beside_the_authors_model_on_cityscapes_only() -> None:
    listed = {n: params.Checkpoint(file="a.pth", layout="authors") for n in ("measured", "not_yet")}
    embedded = SETTINGS.model_copy(update={"checkpoints": listed})
    real = embedded.model_copy(update={"profile": "cityscapes", "dataset_dir": "/data"})
    iou = {"road": 0.5, "sky": 0.75}
    scores = {"miou": 0.625, "pixel_accuracy": 0.9, "class_iou": iou}
    found = {"measured": {"scores": scored(scores), "record": {"digest": "0123456789abcdef"}}}

    frame = imported.shown(imported.table(real, found, PUBLISHED))
    row = ["measured", "authors", "0123456789ab", "2", "7", "62.50", "90.00", "79.9"]
    assert frame.iloc[0].tolist() == row
    assert frame.iloc[1].tolist() == ["not_yet", "authors", "", "", "", "not measured", "", "79.9"]
    entry = PUBLISHED["cityscapes_val_class_iou"] | {"status": "transcribed"}
    marked = imported.table(real, found, {"cityscapes_val_class_iou": entry})
    assert imported.shown(marked).iloc[0, -1] == "79.9†"
    for settings, figures in ((embedded, PUBLISHED), (real, {})):
        frame = imported.shown(imported.table(settings, found, figures))
        assert frame.columns[-1] == "pixel accuracy"


def test_a_table_in_three_forms(tmp_path: Path) -> None:
    measured = results(baseline=[45.6, 44.6, 46.0], ann=[69.2, 67.5, 66.1], nb=[70.0])
    frame = tables.ablation(SETTINGS, measured, PUBLISHED)
    tables.write(frame, tmp_path / "ablation", "Notes.")
    markdown = (tmp_path / "ablation.md").read_text()
    assert "45.4 ± 0.7" in markdown
    assert "+22.2" in markdown  # the mean over equal seeds, to the baseline
    text = (tmp_path / "ablation.tex").read_text()
    assert r"\toprule" in text
    assert r"45.4 $\pm$ 0.7" in text
    assert r"common\_nb" in text
    words = tables.separation(SETTINGS, measured, "ablation")
    assert "Of 3 pairs of rows, 1 are told apart" in words
    assert "- nb: baseline, ann" in words
