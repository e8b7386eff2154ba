"""The tables: what they say follows from the results, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.common import params
from pipeline.reporting import imported, provenance, tables
from pipeline.reporting.results import Result, Results, mean, spread
from tests.conftest import ROOT

SETTINGS = params.load(ROOT / "params.yaml")
PUBLISHED = yaml.safe_load((ROOT / "reports/published.yaml").read_text(encoding="utf-8"))


def scored(scores: dict[str, Any]) -> dict[str, Any]:
    """scores.json with these scores as the first protocol's, and others after it."""
    return {"images": 7, "protocols": {"sliding": scores, "whole": {"miou": 0.0}}}


def runs(variant: str, *mious: float) -> list[Result]:
    return [Result(variant, i, scored({"miou": m / 100}), {}) for i, m in enumerate(mious)]


def results(**measured: list[float]) -> Results:
    return {name: runs(name, *measured.get(name, [])) for name in SETTINGS.variants}


def test_mean_and_spread_by_hand() -> None:
    a = runs("a", 50, 52, 57)
    assert mean(a) == pytest.approx(53)
    assert spread(a) == pytest.approx(13**0.5)


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
    assert published("ann", key_channels=32) == (None, None)
    assert published("nb", options=params.OwnOptions(form="fused")) == (None, None)
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
    tables.write(frame, tmp_path / "ablation", "Notes.", provenance.origin([]))
    markdown = " ".join((tmp_path / "ablation.md").read_text(encoding="utf-8").split())
    assert "45.4 ± 0.7 | 44.6 to 46.0 " in markdown
    assert "+22.2 (+20.1 to +23.6) | 79.9† | +4.1 |" in markdown  # on equal seeds
    text = (tmp_path / "ablation.tex").read_text(encoding="utf-8")
    assert text.startswith("% Provenance: no run")
    assert r"\toprule" in text
    assert r"45.4 $\pm$ 0.7" in text
    assert r"common\_nb" in text
