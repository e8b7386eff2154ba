"""Predictions as the servers want them: Cityscapes' own scripts give the same scores."""

import io
import json
import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.commands import submit
from pipeline.data.formats import DATASETS, scene
from pipeline.data.formats.base import make_lookup_table
from pipeline.data.prepared.store import Store
from pipeline.engine import checkpoint, networks, yaml_file
from pipeline.engine.errors import InputError
from pipeline.engine.processes import launch
from pipeline.scoring.evaluation import score
from pipeline.scoring.predict import stack_images
from pipeline.settings import params, records
from pipeline.settings.paths import RunPaths, locate_prepared
from pipeline.stages import prepare
from tests.conftest import ROOT, command_line, small

CITYSCAPES = DATASETS["cityscapes"]
SIZE = (64, 128)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Drawn scenes in Cityscapes' layout, prepared, and a network of random weights, scored."""
    monkeypatch.chdir(tmp_path)
    settings = small(yaml_file.read_yaml(ROOT / "params.yaml"))
    settings["profiles"]["embedded"]["evaluate"] = {
        "precision": "float32",
        "batch_size": 2,
        "threads": 1,
        "protocols": ["sliding", "whole"],
        "window": [64, 64],
        "stride": [32, 48],
    }
    yaml_file.write_yaml(Path("params.yaml"), settings)
    root = Path(settings["dataset_dir"])
    scene.write(root, counts={"train": 1, "val": 3}, seed=0, height=SIZE[0], width=SIZE[1])
    (root / "leftImg8bit/test/city").mkdir(parents=True)
    for i, file in enumerate(sorted(root.glob("leftImg8bit/val/*/*.png"))[:2]):
        name = root / f"leftImg8bit/test/city/city_000000_{i:06d}_leftImg8bit.png"
        Image.open(file).resize((SIZE[1] - 8 * i, SIZE[0])).save(name)  # of two sizes
    prepare.main()

    loaded = params.load()
    network = loaded.resolve_network("ann")
    torch.manual_seed(2)
    built = networks.build(network, 19).train()
    data = locate_prepared("embedded")
    store = Store(data, "val")
    with torch.no_grad():
        for _ in range(20):  # batch norm's statistics, or else it predicts one class
            built(stack_images([store[i].image for i in range(len(store))]))
    paths = RunPaths("embedded", "ann", 0)
    saved = {"network": network, "classes": list(CITYSCAPES.classes)}
    checkpoint.save(paths.weights, built.state_dict(), **saved)
    result = score(paths, data, loaded.active.evaluate, launch())
    records.write(paths.scores, result.scores)
    return tmp_path


def test_the_official_scripts_score_the_exported_predictions_as_the_stage_did(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit.main("ann-0", "val", Path("out/val.zip"))
    with ZipFile("out/val.zip") as archive:
        archive.extractall("results")
    monkeypatch.setitem(os.environ, "CITYSCAPES_DATASET", str(workplace))
    monkeypatch.setitem(os.environ, "CITYSCAPES_RESULTS", str(workplace / "results"))
    official = import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    truths = sorted(map(str, workplace.glob("data/embedded/gtFine/val/*/*_labelIds.png")))
    args = official.args
    args.evalInstLevelScore, args.JSONOutput, args.quiet = False, False, True
    args.predictionPath, args.predictionWalk = None, None
    found = [official.getPrediction(args, truth) for truth in truths]  # by the servers' rule
    theirs = official.evaluateImgLists(found, truths, args)

    protocols = json.loads(Path("runs/embedded/ann-0/scores.json").read_text(encoding="utf-8"))[
        "protocols"
    ]
    ours = protocols["sliding"]
    assert ours["confusion"] != protocols["whole"]["confusion"]
    assert np.count_nonzero(np.sum(ours["confusion"], axis=0)) > 3  # several classes are predicted
    assert ours["miou"] == theirs["averageScoreClasses"] > 0
    assert ours["category_miou"] == theirs["averageScoreCategories"]
    for kind in ("class", "category"):
        for name, iou in ours[f"{kind}_iou"].items():
            score = theirs[f"{kind}Scores"][name]
            assert iou == (None if np.isnan(score) else score)

    first = Path("out/val.zip").read_bytes()
    submit.main("ann-0", "val", Path("again.zip"), "sliding")
    assert Path("again.zip").read_bytes() == first
    text, listed = (
        Path("params.yaml").read_text(encoding="utf-8"),
        "{released: {file: a.pth, layout: authors}}",
    )
    Path("params.yaml").write_text(
        text.replace("checkpoints: {}", f"checkpoints: {listed}"), encoding="utf-8"
    )
    weights = RunPaths("embedded", "ann", 0).weights
    weights.rename(weights.with_name("released.safetensors"))
    submit.main("released", "val", Path("again.zip"))
    assert Path("again.zip").read_bytes() == first
    submit.main("released", "val", Path("again.zip"), "whole")
    assert Path("again.zip").read_bytes() != first


def test_the_test_split_needs_no_labels_and_a_damaged_image_leaves_no_zip(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit.main("ann-0", "test", Path("test.zip"))
    with ZipFile("test.zip") as archive:
        names = archive.namelist()
        assert names == [f"city_000000_{i:06d}_leftImg8bit.png" for i in range(2)]
        for i, name in enumerate(names):
            with Image.open(io.BytesIO(archive.read(name))) as png:
                assert (png.mode, png.size) == ("L", (SIZE[1] - 8 * i, SIZE[0]))
                assert (CITYSCAPES.lookup[np.asarray(png)] < 19).all()
    damaged = Path("data/embedded/leftImg8bit/test/city/city_000000_000001_leftImg8bit.png")
    damaged.write_bytes(damaged.read_bytes()[:2000])
    with pytest.raises(InputError, match=f"{damaged}: cannot be read"):
        submit.main("ann-0", "test", Path("other.zip"))
    assert not list(workplace.glob("*other.zip*"))
    for file in damaged.parent.glob("*"):
        file.unlink()
    with pytest.raises(InputError, match="data/embedded: the test split is empty; Cityscapes is"):
        submit.main("ann-0", "test", Path("other.zip"))


def test_what_cannot_be_submitted_is_refused_in_a_sentence(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words, sentence in (
        ("ann-7 val a.zip", "RUN must be a variant and a seed of params.yaml, .* got 'ann-7'"),
        ("released val a.zip", "RUN must be .* got 'released'"),
        ("ann-0 train a.zip", "the split must be val or test, got 'train'"),
        ("ann-0 val a.zip --protocol multi_scale", "the protocol must be sliding or whole, got "),
        ("ann-0 val weights", "the file's ending must be .zip, got ''"),
        ("baseline-0 val a.zip", "baseline-0.safetensors: not a readable"),
    ):
        with pytest.raises(InputError, match=sentence):
            command_line("submit", *words.split())
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(
        text.replace("profile: embedded", "profile: camvid", 1).replace(
            "camvid: null", "camvid: data/embedded", 1
        ),
        encoding="utf-8",
    )
    with pytest.raises(InputError, match="the dataset must be cityscapes"):
        submit.main("ann-0", "val", Path("a.zip"))
    assert not list(workplace.glob("*.zip*"))


def test_another_dataset_has_its_own_values_and_names(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ADE20K counts its classes: from 1, for 0 is what is none of them."""
    submit.main("ann-0", "val", Path("cityscapes.zip"))
    lookup = make_lookup_table({i + 1: i for i in range(19)}, ignored=[0])
    other = replace(CITYSCAPES, name="ade20k", lookup=lookup, test_images=None)
    monkeypatch.setitem(DATASETS, "cityscapes", other)
    submit.main("ann-0", "val", Path("ade20k.zip"))
    with ZipFile("cityscapes.zip") as a, ZipFile("ade20k.zip") as b:
        assert b.namelist() == [name.replace("_leftImg8bit", "") for name in a.namelist()]
        for names in zip(a.namelist(), b.namelist(), strict=True):
            pixels = [
                np.asarray(Image.open(io.BytesIO(archive.read(name))))
                for archive, name in zip((a, b), names, strict=True)
            ]
            assert np.array_equal(CITYSCAPES.lookup[pixels[0]] + 1, pixels[1])
    with pytest.raises(InputError, match="SPLIT must be val for ade20k"):
        submit.main("ann-0", "test", Path("test.zip"))
