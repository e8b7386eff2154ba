"""Every dataset in its published layout, from the files to the tables, by its shipped profile."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file

from pipeline.commands import use
from pipeline.data.formats import DATASETS
from pipeline.engine import yaml_file
from pipeline.stages import (
    check,
    collect,
    contact_sheet,
    evaluate,
    features,
    index,
    prepare,
    report,
    train,
)
from tests.conftest import ROOT, small, write_claims
from tests.trees import TREES

WIDTHS = {"channels": 8, "key_channels": 4, "value_channels": 4, "aux_channels": 8}
# One dataset is enough where slow tests are left out.
NAMES = [
    name if name == "camvid" else pytest.param(name, marks=pytest.mark.slow) for name in DATASETS
]
FROZEN = ["cityscapes_frozen", "ade20k_frozen", "pascal_context_frozen"]


def shrink(profile: dict[str, Any]) -> None:
    """The profile's recipe and protocols with a network and sizes for a second of one core."""
    own = {"backbone": "small", "widths": [8, 8, 8, 8], "levels": None, "pixels": "imagenet"}
    profile["network"] |= own | {"weights": None, "freeze": False} | WIDTHS
    profile["features"]["cache"] = False
    training = profile["train"]
    training |= {"iterations": 3, "batch_size": 2, "warmup": 0, "threads": 1}
    training["augment"]["crop"] = [64, 64]
    if training["augment"]["min_side"]:
        training["augment"]["min_side"] = 70
    if training["loss"]["ohem"]:
        training["loss"]["ohem"]["min_kept"] = 100
    profile["evaluate"]["protocols"] = ["whole", "sliding", "multi_scale"]
    profile["evaluate"]["flip"] = True
    profile["evaluate"] |= {"window": [64, 64], "stride": [40, 48], "threads": 1}
    if "sides" in profile["evaluate"]:
        profile["evaluate"]["sides"] = [70, 140]
    profile["evaluate"]["scales"] = [1.0, 1.25]  # of images of 64 pixels, for 8x8 pooling


def link_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Go to an empty folder with the code, for a fingerprint; return the shipped settings."""
    monkeypatch.chdir(folder)
    for name in ("ann", "pipeline"):
        Path(name).symlink_to(ROOT / name)
    settings: dict[str, Any] = yaml_file.read_yaml(ROOT / "params.yaml")
    return settings


def write_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write params.yaml and what else a folder of the project has before any stage runs."""
    yaml_file.write_yaml(Path("params.yaml"), settings)
    write_claims(folder, settings["variants"])
    Path("reports/results").mkdir()
    shutil.copy(ROOT / "reports/published.yaml", "reports")


@pytest.mark.slow
def test_three_datasets_fill_all_comparison_tables_in_one_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = link_code(tmp_path, monkeypatch)
    names = ("cityscapes", "ade20k", "pascal_context")
    for name in names:
        TREES[name](tmp_path / name)
        shrink(settings["profiles"][name])
        settings["data"][name] = name
    write_settings(tmp_path, small(settings))
    for name in names:
        use.main(name)
        check.main()
        prepare.main()
        train.main("ann", 0)
        evaluate.main("ann", 0)
        Path(f"reports/{name}").mkdir()
        collect.main()
    index.main()
    for name in names:
        table = pd.read_csv(f"reports/tables/{name}.csv").set_index("method")
        scores = json.loads(Path(f"runs/{name}/ann-0/scores.json").read_text(encoding="utf-8"))
        miou = 100 * scores["protocols"]["multi_scale"]["miou"]
        column = next(c for c in table if c.startswith("val multi-scale") and f"{c} sd" in table)
        assert table.loc["ann", column] == pytest.approx(miou, abs=1e-3)
        assert table.loc["ann", "n"] == 1
    summary = Path("reports/README.md").read_text(encoding="utf-8")
    assert all(f"[{name}]({name}/index.html)" in summary for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("name", FROZEN)
def test_a_frozen_profile_trains_its_heads_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = link_code(tmp_path, monkeypatch)
    profile = settings["profiles"][name]
    network = profile["network"]
    assert network == settings["profiles"][profile["data"]]["network"] | {"freeze": True}
    shrink(profile)
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), "backbone.pth")
    network |= {"backbone": "resnet18", "widths": None, "weights": "backbone.pth", "freeze": True}
    TREES[profile["data"]](tmp_path / "published")
    settings["data"][profile["data"]] = "published"
    write_settings(tmp_path, small(settings) | {"profile": name, "dataset_dir": "published"})
    check.main()
    prepare.main()
    features.main()
    train.main("ann", 0)
    evaluate.main("ann", 0)
    tensors = load_file(f"weights/{name}/ann-0.safetensors")
    assert not [key for key in tensors if key.startswith("backbone.")]
    scores = json.loads(Path(f"runs/{name}/ann-0/scores.json").read_text(encoding="utf-8"))
    assert list(scores["protocols"]) == ["whole", "sliding", "multi_scale"]


@pytest.mark.parametrize("decode", [True, False], ids=["decoded", "files"])
@pytest.mark.parametrize("name", NAMES)
def test_from_the_published_files_to_the_tables(
    name: str, decode: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = link_code(tmp_path, monkeypatch)
    TREES[name](tmp_path / "published")
    shrink(settings["profiles"][name])
    settings["profiles"][name]["prepare"]["decode"] = decode
    settings["data"][name] = "published"
    write_settings(tmp_path, small(settings) | {"profile": name, "dataset_dir": "published"})
    Path(f"reports/{name}").mkdir()

    check.main()
    prepare.main()
    contact_sheet.main()
    with Image.open(f"data/contact-sheet/{name}.png") as sheet:
        assert len(np.unique(np.asarray(sheet))) > 20
    for variant in ("baseline", "ann"):
        train.main(variant, 0)
        evaluate.main(variant, 0)
    collect.main()
    report.main()
    index.main()

    dataset = DATASETS[name]
    scores = json.loads(Path(f"runs/{name}/ann-0/scores.json").read_text(encoding="utf-8"))
    assert list(scores["protocols"]) == ["whole", "sliding", "multi_scale"]
    pixels = {sum(map(sum, p["confusion"])) for p in scores["protocols"].values()}
    assert len(pixels) == 1  # the same labels are scored by each
    assert pixels.pop() > 0
    for found in scores["protocols"].values():
        assert list(found["class_iou"]) == list(dataset.classes)
        assert (found["miou_with_background"] is not None) == dataset.background
        assert (found["category_miou"] is not None) == (name == "cityscapes")
    assert (
        pd.read_csv(f"reports/{name}/tables/ablation.csv").set_index("variant").loc["ann", "n"] == 1
    )
    if name != "camvid":  # which the paper has no table of
        rows = Path(f"reports/tables/{name}.md").read_text(encoding="utf-8")
        ours = f"{100 * scores['protocols']['multi_scale']['miou']:.1f}"
        assert any(ours in line for line in rows.splitlines() if "ann" in line.lower())
