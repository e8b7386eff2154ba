"""The tables follow from the results, and from nothing else."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.reporting.columns import Column, Number, Table
from pipeline.reporting.published import find_ablation_figure, find_sampling_figure
from pipeline.reporting.rendering import to_csv, to_html, to_latex, to_markdown, write_files
from pipeline.reporting.results import Results, mean, spread
from pipeline.reporting.tables import imported, paper
from pipeline.settings import fields, options, params, records, schema
from tests import recorded
from tests.conftest import ROOT
from tests.reporting import PUBLISHED, make_inputs

SETTINGS = params.load(ROOT / "params.yaml")


def scored(**scores: Any) -> records.Scores:
    """scores.json with these scores as the first protocol's, and others after it."""
    both = recorded.scores("sliding", **scores).protocols | recorded.scores(miou=0.0).protocols
    return records.Scores(version=1, images=7, dataset_digest="d", protocols=both)


def runs(variant: str, *mious: float) -> list[records.RunLine]:
    return [
        recorded.run(variant, seed, 0, scores=scored(miou=miou / 100))
        for seed, miou in enumerate(mious)
    ]


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
            find_ablation_figure(variant, PUBLISHED),
            find_sampling_figure(variant, PUBLISHED),
        )

    assert published("baseline") == (75.8, None)
    assert published("common_nb") == (79.0, None)
    assert published("ann") == (79.9, 79.9)
    assert published("apnb", pool_sizes=[1, 3, 6, 7]) == (None, None)
    assert published("apnb", sampling="pyramid_max") == (None, None)
    assert published("max15") == (None, 78.1)
    assert published("ann", key_channels=32) == (None, None)
    assert published("nb", options=options.OwnOptions(form="fused")) == (None, None)
    assert published("baseline", context="apnb", fusion="common") == (None, None)


@pytest.mark.parametrize("name", paper.PAPER_TABLES)
def test_every_row_of_the_papers_tables_is_there(name: fields.TableName) -> None:
    table = paper.build_table(make_inputs(SETTINGS), name)
    rows = PUBLISHED[f"cityscapes_val_{name}"]["rows"]
    figures = rows.values() if isinstance(rows, dict) else [r["miou"] for r in rows]
    assert sorted(table.frame["published"]) == sorted(figures)
    assert set(table.frame["published_status"]) == {"transcribed"}
    cells = table.format_cells()
    assert set(cells["mIoU"]) == {"not measured"}
    assert all(value.endswith("†") for value in cells["paper mIoU"])


def test_imported_checkpoints_stand_beside_the_authors_model_on_cityscapes_only() -> None:
    listed = {n: schema.Checkpoint(file="a.pth", layout="authors") for n in ("measured", "not_yet")}
    embedded = SETTINGS.model_copy(update={"checkpoints": listed})
    real = embedded.model_copy(update={"profile": "cityscapes", "dataset_dir": "/data"})
    iou = {"road": 0.5, "sky": 0.75}
    scores = scored(miou=0.625, pixel_accuracy=0.9, class_iou=iou)
    results = {"measured": recorded.checkpoint_line("measured", scores=scores)}

    def format_cells(settings: schema.Params, published: dict[str, Any]) -> pd.DataFrame:
        inputs = make_inputs(settings, imported=results, published=published)
        return imported.build_table(inputs).format_cells()

    cells = format_cells(real, PUBLISHED)
    row = ["measured", "authors", "0123456789ab", "2", "7", "62.50", "90.00", "79.9"]
    assert cells.iloc[0].tolist() == row
    assert cells.iloc[1].tolist() == ["not_yet", "authors", "", "", "", "not measured", "", "79.9"]
    entry = PUBLISHED["cityscapes_val_class_iou"] | {"status": "transcribed"}
    assert format_cells(real, {"cityscapes_val_class_iou": entry}).iloc[0, -1] == "79.9†"
    for settings, published in ((embedded, PUBLISHED), (real, {})):
        assert format_cells(settings, published).columns[-1] == "pixel accuracy"


def test_a_table_in_three_files(tmp_path: Path) -> None:
    measured = results(baseline=[45.6, 44.6, 46.0], ann=[69.2, 67.5, 66.1], nb=[70.0])
    table = paper.build_table(make_inputs(SETTINGS, measured), "ablation")
    write_files(table, tmp_path / "ablation", "Notes.", "Provenance: here.")
    markdown = " ".join((tmp_path / "ablation.md").read_text(encoding="utf-8").split())
    assert "45.4 ± 0.7 | 43.6 to 47.2 " in markdown
    assert "+22.2 (+17.6 to +26.8) | 79.9† | +4.1 |" in markdown  # on equal seeds
    assert markdown.endswith("| Notes. Provenance: here.")
    text = (tmp_path / "ablation.tex").read_text(encoding="utf-8")
    assert text.startswith("% Provenance: here.\n")
    assert r"\toprule" in text
    assert r"45.4 $\pm$ 0.7" in text
    assert r"common\_nb" in text


def test_one_description_of_the_columns_for_every_format() -> None:
    frame = pd.DataFrame({"row": ["a_b", "x|y <z>"], "size": [2.5e6, None], "hidden": [1, 2]})
    size = Number("size", "size (M)", ".2f", lambda row: f"over {row['hidden']}", unit=1e6)
    table = Table(frame, (Column("row"), size))
    assert table.format_cells().to_numpy().tolist() == [["a_b", "2.50"], ["x|y <z>", "over 2"]]
    markdown = to_markdown(table).splitlines()
    assert markdown[1].startswith("|:-")
    assert markdown[1].endswith("-:|")
    assert r"x\|y <z>" in markdown[3]
    latex = to_latex(table)
    assert r"\begin{tabular}{lr}" in latex
    assert r"a\_b & 2.50 \\" in latex
    assert "x|y $<$z$>$ & over 2" in latex
    assert to_csv(table).splitlines() == ["row,size,hidden", "a_b,2500000.0000,1", "x|y <z>,,2"]
    html = to_html(table, "Sizes & more")
    assert 'aria-label="Table: Sizes &amp; more"' in html
    assert '<th scope="row">x|y &lt;z&gt;</th>' in html
    assert '<td class="n">over 2</td>' in html


def test_a_table_without_rows_has_its_headings() -> None:
    table = Table(pd.DataFrame(columns=["row", "size"]), (Column("row"), Number("size")))
    assert to_markdown(table).split("\n")[0].split() == ["|", "row", "|", "size", "|"]
    assert "row & size" in to_latex(table)
