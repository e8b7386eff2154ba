"""Frozen backbones, with maps that are computed before and without, and trained ones."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from pipeline.data.features.store import Features
from pipeline.engine import checkpoint, networks, yaml_file
from pipeline.engine.errors import InputError
from pipeline.settings import params, records
from pipeline.settings.records import FeatureManifest, RunRecord
from pipeline.stages import check, evaluate, features, prepare, train
from tests.conftest import ROOT, small, write_claims
from tests.trees import TREES

WEIGHTS = Path("backbone.safetensors")
FOLDER = Path("data/features/camvid")


def set_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Go to a folder with a small CamVid and its profile, with a tiny model of timm."""
    monkeypatch.chdir(tmp_path)
    for folder in ("ann", "contexts", "pipeline"):
        Path(folder).symlink_to(ROOT / folder)
    TREES["camvid"](tmp_path / "published")
    torch.manual_seed(3)
    save_file(timm.create_model("test_efficientnet").state_dict(), WEIGHTS)
    settings = small(yaml_file.read_yaml(ROOT / "params.yaml"))
    settings["data"]["camvid"] = "published"
    settings |= {"profile": "camvid", "dataset_dir": "published"}
    own = settings["profiles"]["camvid"]
    own["network"] |= {
        "backbone": "timm/test_efficientnet",
        "levels": ["blocks.2", "blocks.3"],
        "weights": str(WEIGHTS),
        "channels": 8,
        "key_channels": 4,
        "value_channels": 4,
        "aux_channels": 8,
    }
    own["train"] |= {"iterations": 4, "batch_size": 2, "warmup": 0, "precision": "float32"}
    own["train"]["augment"]["crop"] = [72, 80]  # the whole image
    write_claims(tmp_path, settings["variants"])
    shutil.copy(ROOT / "reports/published.yaml", "reports")
    yaml_file.write_yaml(Path("params.yaml"), settings)
    edit(**changes)


def edit(**changes: Any) -> None:
    """Change values of the profile, `a__b` stands for a.b."""
    settings = yaml_file.read_yaml(Path("params.yaml"))
    for path, value in changes.items():
        *steps, last = path.split("__")
        part = settings["profiles"]["camvid"]
        for step in steps:
            part = part[step]
        part[last] = value
    yaml_file.write_yaml(Path("params.yaml"), settings)


def run(variant: str = "ann", *, evaluated: bool = False) -> tuple[list[float], dict[str, Any]]:
    """Train a variant; return its losses, and its scores if they are asked for."""
    check.main()
    if not Path("data/prepared/camvid").exists():
        prepare.main()
    features.main()
    train.main(variant, 0)
    folder, scores = Path(f"runs/camvid/{variant}-0"), {}
    if evaluated:
        evaluate.main(variant, 0)
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return pd.read_csv(folder / "curve.csv")["loss"].tolist(), scores


def test_cached_maps_give_the_losses_and_scores_of_computed_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(tmp_path, monkeypatch)
    cached, cached_scores = run(evaluated=True)
    assert records.read(FeatureManifest, FOLDER / "manifest.json").cached
    record = records.read(RunRecord, Path("runs/camvid/ann-0/record.json"))
    assert record.features == records.read(FeatureManifest, FOLDER / "manifest.json").digest
    edit(features__cache=False)
    computed, scores = run(evaluated=True)
    assert not records.read(FeatureManifest, FOLDER / "manifest.json").cached
    np.testing.assert_allclose(cached, computed, rtol=2e-3)
    assert cached != computed  # half precision
    cached_matrix, matrix = (
        np.array(s["protocols"]["whole"]["confusion"]) for s in (cached_scores, scores)
    )
    assert cached_matrix.sum() == matrix.sum()
    assert np.abs(cached_matrix - matrix).sum() < 0.02 * matrix.sum()


def test_a_frozen_backbone_is_neither_trained_nor_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(tmp_path, monkeypatch, features__cache=False)
    run("apnb")
    file = Path("weights/camvid/apnb-0.safetensors")
    assert not [name for name in load_file(file) if name.startswith("backbone.")]
    network, about = networks.load_network(file)
    own, whole = load_file(WEIGHTS), network.backbone.state_dict()
    assert all(torch.equal(t, own[n.removeprefix("features.")]) for n, t in whole.items())
    assert not any(p.requires_grad for p in network.backbone.parameters())
    assert not network.train().backbone.training
    assert about["backbone_sha256"] is not None
    save_file({name: 2 * tensor for name, tensor in own.items()}, WEIGHTS)
    with pytest.raises(InputError, match="its frozen backbone has the weights"):
        networks.load_network(file)


def test_a_stopped_training_on_maps_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(tmp_path, monkeypatch)
    run("apnb")
    file = Path("weights/camvid/apnb-0.safetensors")
    expected = file.read_bytes()
    saved = []

    class KilledError(Exception):
        pass

    def save_and_die(self: Any, iteration: int) -> None:
        original(self, iteration)
        saved.append(checkpoint.load(self._state)[0])
        raise KilledError

    from pipeline.training import loop
    from pipeline.training.state import Training

    original = Training.save
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0)
    monkeypatch.setattr(Training, "save", save_and_die)
    with pytest.raises(KilledError):
        train.main("apnb", 0)
    assert not [name for name in saved[0] if name.startswith("backbone.")]
    monkeypatch.setattr(Training, "save", original)
    train.main("apnb", 0)
    assert file.read_bytes() == expected


def test_a_trained_backbone_has_its_own_learning_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(tmp_path, monkeypatch, features__cache=False, network__freeze=False)
    losses, own = {}, load_file(WEIGHTS)
    moved = {}
    for factor in (1.0, 1e-6):
        edit(train__optimizer__backbone_lr=factor, train__optimizer__weight_decay=0.0)
        losses[factor], _ = run("baseline")
        state = load_file("weights/camvid/baseline-0.safetensors")
        steps = [
            float((state[f"backbone.features.{name}"] - tensor).abs().max())
            for name, tensor in own.items()
            if f"backbone.features.{name}" in state and name.endswith("conv_pw.weight")
        ]
        moved[factor] = max(steps)
    assert moved[1.0] > 1e-4
    assert 0 < moved[1e-6] < 1e-5
    assert losses[1.0][0] == losses[1e-6][0]
    assert losses[1.0][3] != losses[1e-6][3]


def test_a_crop_of_the_maps_is_the_crop_of_the_whole_images_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the mirror image too, whose crop lies on the other side."""
    set_up(tmp_path, monkeypatch, train__augment__crop=[40, 48])
    check.main()
    prepare.main()
    features.main()
    from pipeline.data.prepared.store import Store
    from pipeline.data.samples.loader import Cached, NumberedSamples, sample_index

    settings = params.load()
    maps, store = Features(FOLDER, "train"), Store(Path("data/prepared/camvid"), "train")
    samples = NumberedSamples(store, settings.active.train.augment, 0, Cached(maps, 8))
    places, flips = set(), set()
    for number in range(40):
        crop, label, _ = samples[number]
        i = sample_index(0, number, len(store))
        assert crop.stage5.shape[:2] == (5, 6)
        assert label.shape == (40, 48)
        hits = [
            (top, left, mirrored)
            for mirrored in (False, True)
            for top in range(9 - 5 + 1)
            for left in range(10 - 6 + 1)
            if np.array_equal(
                maps.read(i, mirrored).stage5[top : top + 5, left : left + 6], crop.stage5
            )
        ]
        ((top, left, mirrored),) = hits
        whole = store[i].label[:, ::-1] if mirrored else store[i].label
        part = whole[8 * top : 8 * top + 40, 8 * left : 8 * left + 48]
        np.testing.assert_array_equal(label, part)
        places.add((top, left))
        flips.add(mirrored)
    assert flips == {False, True}
    assert len(places) > 10


def test_an_interrupted_features_stage_goes_on_and_a_spoilt_map_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up(tmp_path, monkeypatch)
    check.main()
    prepare.main()
    features.main()
    expected = {f.name: f.read_bytes() for f in FOLDER.iterdir()}
    shutil.rmtree(FOLDER)
    extract, calls = features._extract, []

    def interrupt(*arguments: Any) -> Any:
        calls.append(arguments[2])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return extract(*arguments)

    monkeypatch.setattr(features, "_extract", interrupt)
    with pytest.raises(KeyboardInterrupt):
        features.main()
    partial = FOLDER.with_name(".camvid.partial") / "content/train-stage4.bin"
    with partial.open("r+b") as file:  # the second image's maps
        file.seek(-5, 2)
        file.write(b"spoil")
    features.main()
    assert "features train: resumes after 1 of 3" in capsys.readouterr().out
    assert len(calls) == 3 + 5  # both unfinished images of train, and three of val
    assert {f.name: f.read_bytes() for f in FOLDER.iterdir()} == expected


def test_maps_of_other_images_or_another_backbone_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(tmp_path, monkeypatch)
    run("baseline")
    manifest = FOLDER / "manifest.json"
    good = json.loads(manifest.read_text(encoding="utf-8"))
    for key, value, what in (
        ("dataset_digest", "0" * 64, "the images"),
        ("backbone_sha256", "0" * 64, "the backbone's weights"),
        ("backbone", {"backbone": "resnet18"}, "the backbone's settings"),
    ):
        manifest.write_text(json.dumps(good | {key: value}), encoding="utf-8")
        with pytest.raises(InputError, match=f"{what} are no longer those of its maps; run `dvc"):
            train.main("baseline", 0)
        with pytest.raises(InputError, match=f"{what} are no longer"):
            evaluate.main("baseline", 0)
    manifest.write_text(json.dumps(good | {"version": 2}), encoding="utf-8")
    with pytest.raises(InputError, match="version must be 1, got 2; run `dvc repro -f"):
        train.main("baseline", 0)


def test_a_disk_without_room_is_named_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(tmp_path, monkeypatch)
    check.main()
    prepare.main()
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match="are free; free space, or let the profile say features"):
        features.main()
    assert not FOLDER.exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"network__weights": None}, "network.weights must be set for a frozen backbone"),
        ({"network__freeze": False}, "features.cache must be false without network.freeze"),
        ({"network__pixels": "imagenet"}, "pixels must be timm with the backbone timm/"),
        ({"network__levels": None}, "levels is missing; timm/test_efficientnet needs two modules"),
        (
            {"train__augment__scale": [0.5, 1.0]},
            "augment.scale must be [1.0, 1.0] with",
        ),
        ({"train__augment__brightness": 3}, "augment.brightness must be 0 with features.cache"),
        ({"train__augment__crop": [70, 80]}, "augment.crop must be multiples of the"),
        ({"evaluate__sides": [64, 128]}, "evaluate.sides must be null with features"),
        ({"train__optimizer__backbone_lr": 0.1}, "backbone_lr must be null for a frozen backbone"),
    ],
)
def test_what_maps_do_not_allow_gets_a_sentence(
    changes: dict[str, Any], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(tmp_path, monkeypatch, **changes)
    with pytest.raises(InputError) as caught:
        params.load()
    assert sentence in str(caught.value)


def test_images_that_the_grid_does_not_fit_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(tmp_path, monkeypatch, network__output_stride=16, train__augment__crop=[64, 64])
    edit(network__levels=["blocks.3", "blocks.4"])
    check.main()
    prepare.main()
    with pytest.raises(InputError, match=r"must have sides .* got 80x72"):
        features.main()
