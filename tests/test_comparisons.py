"""Beside published figures stands what was measured on the same data, and nothing else."""

from typing import Any

import pandas as pd
import pytest

from pipeline.reporting.columns import Table
from pipeline.reporting.inputs import Overview
from pipeline.reporting.results import Results
from pipeline.reporting.tables import classes, comparisons
from pipeline.settings import params, schema
from pipeline.settings.records import RunLine
from tests import recorded
from tests.conftest import ROOT
from tests.reporting import PUBLISHED, make_inputs

SETTINGS = params.load(ROOT / "params.yaml")
CLASSES = PUBLISHED["cityscapes_val_class_iou"]["rows"]


def on(dataset: str, profile: str = "cityscapes", folder: str = "/data") -> schema.Params:
    """The shipped settings with a profile on a dataset, real unless the folder is the drawn one."""
    changed = SETTINGS.profiles[profile].model_copy(update={"dataset": dataset})
    profiles = SETTINGS.profiles | {profile: changed}
    values = {"profile": profile, "dataset_dir": folder, "profiles": profiles}
    return SETTINGS.model_copy(update=values)


def run(variant: str, seed: int, dataset: str, profile: str, **protocols: Any) -> RunLine:
    known = {"category_miou": None, "miou_with_background": None}
    by = {
        name: recorded.scores(**known | values).first.model_dump(mode="json")
        for name, values in protocols.items()
    }
    where = {"record.profile": profile, "record.dataset.name": dataset}
    return recorded.run(variant, seed, 0, **{"scores.protocols": by}, **where)


def compare(
    settings: schema.Params,
    name: str,
    results: Results | None = None,
    imported: dict[str, Any] | None = None,
) -> Table:
    inputs = make_inputs(settings, results, imported=imported)
    return comparisons.build_table(Overview(settings, PUBLISHED, [], {}, [inputs], []), name)


def select_own(table: Table) -> pd.DataFrame:
    """Return the cells of the rows that are measured here."""
    cells = table.format_cells()
    return cells[cells["source"].isin(["trained here", "imported"])].set_index("method")


def measured(dataset: str, profile: str = "cityscapes") -> Results:
    """Two seeds of ann by two protocols."""
    figures = [(0.80, 0.81, 0.9), (0.79, 0.82, 0.8)]
    return {
        "ann": [
            run(
                "ann",
                seed,
                dataset,
                profile,
                whole={"miou": whole, "category_miou": second, "miou_with_background": second / 2},
                multi_scale={"miou": multi},
            )
            for seed, (whole, multi, second) in enumerate(figures)
        ]
    }


@pytest.mark.parametrize("name", comparisons.COMPARISONS)
def test_every_published_figure_stands_once_under_its_split_and_protocol(name: str) -> None:
    frame = compare(SETTINGS, name).frame
    literature = frame[frame["source"] == "literature"]
    split = "test" if name == "cityscapes" else "val"
    rows = PUBLISHED["literature"][f"{name}_{split}"]
    assert literature[f"{split} multi-scale"].dropna().tolist() == [miou for _, _, miou in rows]
    paper = literature[literature["method"] == "ANN, the paper"][f"{split} multi-scale"].dropna()
    assert paper.tolist() == [PUBLISHED["headline"][f"{name}_{split}"]]
    assert ("test multi-scale" in frame) == (split == "test")
    others = [r for r in PUBLISHED["reproductions"]["rows"] if r["dataset"] == name]
    reproduced = frame[frame["source"] == "reproduction"]
    for key, column in (("ss", "val single scale"), ("ms", "val multi-scale")):
        expected = [r[key] for r in others if key in r]
        found = reproduced[column].dropna().tolist() if column in frame else []
        assert found == expected


def test_what_was_not_measured_is_said_not_left_out() -> None:
    drawn = on("cityscapes", "embedded", "data/embedded")
    stale = measured("cityscapes", "embedded")  # left in results.jsonl by another profile
    for settings, results in ((drawn, stale), (on("cityscapes"), stale)):
        rows = select_own(compare(settings, "cityscapes", results))
        assert rows.index.tolist() == ["baseline", "ann"]
        assert set(rows["val whole"]) == set(rows["val multi-scale"]) == {"not measured"}
        assert set(rows["test multi-scale"]) == set(rows["val single scale"]) == {""}
    words = comparisons.explain_runs(drawn, "cityscapes")
    assert "`data.cityscapes`" in words
    assert "`python -m pipeline use cityscapes`" in words


def test_measured_on_the_real_data_by_hand() -> None:
    table = compare(on("cityscapes"), "cityscapes", measured("cityscapes"))
    row = select_own(table).loc["ann"]
    assert (row["backbone"], row["training"]) == ("ResNet-101", "seeds: 2")
    assert row["val whole"] == "79.50 ± 0.71"
    assert row["val multi-scale"] == "81.50 ± 0.71"
    assert row["val sliding"] == "not measured"
    assert row["val whole category IoU"] == "85.00 ± 7.07"
    assert set(select_own(table).loc["baseline"].iloc[5:]) == {"not measured"}
    assert "val whole category IoU" in comparisons.shorten_table(table).format_cells()
    one = {"ann": measured("cityscapes")["ann"][:1]}
    table = compare(on("cityscapes"), "cityscapes", one)
    assert select_own(table).loc["ann", "val whole"] == "80.00"  # one seed has no spread

    context = measured("pascal_context")
    table = compare(on("pascal_context"), "pascal_context", context)
    row = select_own(table).loc["ann"]
    assert row["val whole 59 classes"] == "79.50 ± 0.71"
    assert row["val whole 60 classes"] == "42.50 ± 3.54"
    assert row["val multi-scale"] == ""  # the published column, of another number of classes


def test_imported_checkpoints_are_rows_on_the_real_data_only() -> None:
    listed = {"released": schema.Checkpoint(file="a.pth", layout="authors")}
    values = {"record.profile": "cityscapes", "record.network": {"backbone": "resnet101"}}
    scores = recorded.scores("sliding", miou=0.799)
    found = {"released": recorded.checkpoint_line("released", scores=scores, **values)}
    for folder, rows in (("/data", ["baseline", "ann", "released"]), ("data/embedded", None)):
        settings = on("cityscapes", folder=folder).model_copy(update={"checkpoints": listed})
        frame = select_own(compare(settings, "cityscapes", {}, found))
        assert frame.index.tolist() == (rows or ["baseline", "ann"])
        if rows:
            assert frame.loc["released", "val sliding"] == "79.90"
            assert frame.loc["released", "val whole"] == "not measured"


def test_a_row_a_backbone_and_none_of_another_network() -> None:
    ann = SETTINGS.variants["ann"]
    variants = SETTINGS.variants | {
        "ann50": ann.model_copy(update={"backbone": "resnet50"}),
        "narrow": ann.model_copy(update={"channels": 8}),
    }
    settings = on("cityscapes").model_copy(update={"variants": variants})
    rows = select_own(compare(settings, "cityscapes"))
    expected = {"baseline": "ResNet-101", "ann": "ResNet-101", "ann50": "ResNet-50"}
    assert rows["backbone"].to_dict() == expected


def test_a_dagger_marks_what_was_not_checked_and_only_that() -> None:
    readable = compare(SETTINGS, "cityscapes").format_cells()
    marked = readable[readable["val single scale"].str.endswith("†")]
    assert marked["val single scale"].tolist() == ["75.8†", "79.9†"]
    assert not readable["test multi-scale"].str.contains("†").any()


def test_classes_by_hand_beside_the_authors_model() -> None:
    first = dict.fromkeys(CLASSES, 0.5) | {"bus": None}
    second = dict.fromkeys(CLASSES, 0.25) | {"bus": None, "road": 1.0}
    for folder, profile in (("/data", "cityscapes"), ("data/embedded", "embedded")):
        runs = [
            run("ann", i, "cityscapes", profile, sliding={"class_iou": c}, whole={"class_iou": {}})
            for i, c in enumerate((first, second))
        ]
        settings = on("cityscapes", profile, folder)
        table = classes.build_table(make_inputs(settings, {"ann": runs}))
        readable = table.format_cells().set_index("class")
        assert readable.columns.tolist() == ["baseline", "apnb", "ann", "authors' model"]
        assert readable.loc[["road", "sky", "bus"], "ann"].tolist() == [
            "75.0",
            "37.5",
            "not in val",
        ]
        assert readable.loc["mean", "ann"] == f"{(17 * 37.5 + 75) / 18:.1f}"
        assert set(readable["baseline"]) == {"not measured"}
        assert readable.loc[["road", "mean"], "authors' model"].tolist() == ["98.4", "79.9"]
        assert ("not comparable" in classes.explain_columns(settings, table.frame)) == (
            folder != "/data"
        )
    camvid = classes.build_table(make_inputs(on("camvid", "camvid"), {"ann": runs}))
    assert set(camvid.format_cells()["ann"]) == {"not measured"}
