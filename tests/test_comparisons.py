"""Beside published figures stands what was measured on the same data, and nothing else."""

from typing import Any

import pandas as pd
import pytest
import yaml

from pipeline.common import params
from pipeline.reporting import classes, comparisons
from pipeline.reporting.results import Result, Results
from tests.conftest import ROOT

SETTINGS = params.load(ROOT / "params.yaml")
PUBLISHED = yaml.safe_load((ROOT / "reports/published.yaml").read_text(encoding="utf-8"))
CLASSES = PUBLISHED["cityscapes_val_class_iou"]["rows"]


def on(dataset: str, profile: str = "cityscapes", folder: str = "/data") -> params.Params:
    """The shipped settings with a profile on a dataset, real unless the folder is the drawn one."""
    changed = SETTINGS.profiles[profile].model_copy(update={"dataset": dataset})
    profiles = SETTINGS.profiles | {profile: changed}
    values = {"profile": profile, "dataset_dir": folder, "profiles": profiles}
    return SETTINGS.model_copy(update=values)


def run(variant: str, seed: int, dataset: str, profile: str, **protocols: Any) -> Result:
    record = {"profile": profile, "dataset": {"name": dataset}}
    return Result(variant, seed, {"protocols": protocols}, record)


def ours(frame: pd.DataFrame) -> pd.DataFrame:
    readable = comparisons.shown(frame)
    return readable[readable["source"].isin(["trained here", "imported"])].set_index("method")


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
    frame = comparisons.table(SETTINGS, name, {}, {}, PUBLISHED)
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
    for settings, results in ((drawn, stale), (on("cityscapes"), stale), (on("ade20k"), stale)):
        rows = ours(comparisons.table(settings, "cityscapes", results, {}, PUBLISHED))
        assert rows.index.tolist() == ["baseline", "ann"]
        assert set(rows["val whole"]) == set(rows["val multi-scale"]) == {"not measured"}
        assert set(rows["test multi-scale"]) == set(rows["val single scale"]) == {""}
    words = comparisons.notes(drawn, "cityscapes")
    assert "`profile: cityscapes`" in words
    assert "evaluate@baseline-0 evaluate@ann-0" in words


def test_measured_on_the_real_data_by_hand() -> None:
    frame = comparisons.table(on("cityscapes"), "cityscapes", measured("cityscapes"), {}, PUBLISHED)
    row = ours(frame).loc["ann"]
    assert (row["backbone"], row["training"]) == ("ResNet-101", "seeds: 2")
    assert row["val whole"] == "79.50 ± 0.71"
    assert row["val multi-scale"] == "81.50 ± 0.71"
    assert row["val sliding"] == "not measured"
    assert row["val whole category IoU"] == "85.00 ± 7.07"
    assert set(ours(frame).loc["baseline"].iloc[5:]) == {"not measured"}
    assert "val whole category IoU" in comparisons.compact(frame)
    one = {"ann": measured("cityscapes")["ann"][:1]}
    frame = comparisons.table(on("cityscapes"), "cityscapes", one, {}, PUBLISHED)
    assert ours(frame).loc["ann", "val whole"] == "80.00"  # one seed has no spread

    context = measured("pascal_context")
    frame = comparisons.table(on("pascal_context"), "pascal_context", context, {}, PUBLISHED)
    row = ours(frame).loc["ann"]
    assert row["val whole 59 classes"] == "79.50 ± 0.71"
    assert row["val whole 60 classes"] == "42.50 ± 3.54"
    assert row["val multi-scale"] == ""  # the published column, of another number of classes


def test_imported_checkpoints_are_rows_on_the_real_data_only() -> None:
    listed = {"released": params.Checkpoint(file="a.pth", layout="authors")}
    scores = {"protocols": {"sliding": {"miou": 0.799}}}
    record = {"profile": "cityscapes", "network": {"backbone": "resnet101"}}
    found = {"released": {"scores": scores, "record": record}}
    for folder, rows in (("/data", ["baseline", "ann", "released"]), ("data/embedded", None)):
        settings = on("cityscapes", folder=folder).model_copy(update={"checkpoints": listed})
        frame = ours(comparisons.table(settings, "cityscapes", {}, found, PUBLISHED))
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
    rows = ours(comparisons.table(settings, "cityscapes", {}, {}, PUBLISHED))
    expected = {"baseline": "ResNet-101", "ann": "ResNet-101", "ann50": "ResNet-50"}
    assert rows["backbone"].to_dict() == expected


def test_a_dagger_marks_what_was_not_checked_and_only_that() -> None:
    readable = comparisons.shown(comparisons.table(SETTINGS, "cityscapes", {}, {}, PUBLISHED))
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
        frame = classes.table(settings, {"ann": runs}, {}, PUBLISHED)
        readable = classes.shown(frame).set_index("class")
        assert readable.columns.tolist() == ["baseline", "apnb", "ann", "authors' model"]
        assert readable.loc[["road", "sky", "bus"], "ann"].tolist() == [
            "75.0",
            "37.5",
            "not in val",
        ]
        assert readable.loc["mean", "ann"] == f"{(17 * 37.5 + 75) / 18:.1f}"
        assert set(readable["baseline"]) == {"not measured"}
        assert readable.loc[["road", "mean"], "authors' model"].tolist() == ["98.4", "79.9"]
        assert ("not comparable" in classes.notes(settings, frame)) == (folder != "/data")
    camvid = classes.table(on("camvid", "camvid"), {"ann": runs}, {}, PUBLISHED)
    assert set(classes.shown(camvid)["ann"]) == {"not measured"}
