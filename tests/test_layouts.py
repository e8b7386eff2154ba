"""The published layouts: the same tensors there and back, the same logits, and what is refused."""

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ann import LAYOUTS, SegmentationNetwork, export_state, import_state, layout_settings
from ann.network import pixel_statistics
from pipeline.commands import export
from pipeline.data.formats.base import Sample
from pipeline.data.prepared.store import Writer
from pipeline.engine import foreign, networks, yaml_file
from pipeline.engine.errors import InputError
from pipeline.engine.files import digest_file
from pipeline.scoring.protocols import whole
from pipeline.settings import records
from pipeline.settings.paths import MANIFEST, locate_prepared
from pipeline.stages import check, collect, imported, report
from tests import published
from tests.conftest import ROOT, small, write_claims
from tests.recorded import manifest, split

CLASSES = 4
KEYS = {"authors": 704, "mmseg": 696}

pytestmark = pytest.mark.usefixtures("one_thread")


def random_values(name: str, empty: Tensor, generator: torch.Generator) -> Tensor:
    """Weights that keep signals alive, and statistics that are not those of a fresh network."""
    if empty.dtype == torch.int64:
        return torch.randint(1, 10**6, empty.shape, generator=generator)
    values = torch.rand(empty.shape, generator=generator)  # mean 0.5, variance 1/12
    if name.endswith("running_var"):
        return values.add_(0.5)
    if name.endswith("weight") and empty.ndim == 1:
        return values.mul_(12 if "query" in name or "key" in name else 0.6)  # an uneven softmax
    values.sub_(0.5)
    return values.mul_((12 / empty[0].numel()) ** 0.5) if name.endswith("weight") else values


@functools.cache
def random_tensors(layout: str, classes: int = CLASSES) -> dict[str, Tensor]:
    """Random weights in a published layout."""
    settings, generator = layout_settings(layout), torch.Generator().manual_seed(0)
    with torch.device("meta"):
        empty = SegmentationNetwork(classes, **settings).state_dict()
    state = {name: random_values(name, t, generator) for name, t in empty.items()}
    tensors = export_state(layout, state | pixel_statistics(settings["pixels"]))
    with torch.inference_mode():
        logits, _ = published.NETWORKS[layout](published.Named(tensors), blobs(0), torch.float32)
        tensors[published.CLASSIFIERS[layout]] -= logits.mean(dim=(0, 2, 3))  # so that all win
    return tensors


def blobs(seed: int) -> Tensor:
    """A random image (1, 3, 64, 72) in cells of 8x8."""
    cells = torch.randint(0, 256, (1, 3, 8, 9), generator=torch.Generator().manual_seed(seed))
    return cells.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_import_and_export_give_the_same_tensors(layout: str) -> None:
    tensors = random_tensors(layout)
    assert len(tensors) == KEYS[layout]
    state = import_state(layout, tensors)
    assert same(export_state(layout, state), tensors)
    assert same(import_state(layout, export_state(layout, state)), state)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_network_by_hand_gives_the_same_logits(layout: str) -> None:
    tensors = random_tensors(layout)
    images = blobs(1)
    theirs = published.Named({name: t.double() for name, t in tensors.items()})
    with torch.inference_mode():
        logits, aux = published.NETWORKS[layout](theirs, images, torch.float64)
        assert logits.shape[2:] == published.MAPS[layout]
        assert {n for n in tensors if n not in theirs.read} == {
            n for n in tensors if n.endswith("num_batches_tracked")
        }
        del theirs
        with torch.device("meta"):
            ours = SegmentationNetwork(CLASSES, **layout_settings(layout))
        ours.load_state_dict(import_state(layout, tensors), assign=True)
        ours.double().eval()
        stage4: list[Tensor] = []
        ours.backbone.layer3.register_forward_hook(lambda *args: stage4.append(args[2]))
        got = ours(images)[0]
        got_aux = ours.aux_classifier(ours.aux_reduce(stage4[0]))
        for a, b in ((got, logits), (got_aux, aux)):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-7 * float(b.abs().max()))
        full = F.interpolate(
            logits, (64, 72), mode="bilinear", align_corners=published.ALIGN_CORNERS[layout]
        )
        assert torch.equal(whole(ours, images).argmax(dim=1), full.argmax(dim=1))
        assert len(full.argmax(dim=1).unique()) > 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_keys_that_do_not_fit_are_named_three_at_most(layout: str) -> None:
    good = random_tensors(layout)
    names = sorted(good)

    def refused(tensors: dict[str, Tensor], of: str = layout) -> str:
        with pytest.raises(ValueError) as caught:
            import_state(of, tensors)
        return str(caught.value)

    lacking = {n: t for n, t in good.items() if n not in names[:1]}
    assert f"{names[0]} is missing (1 in all)" in refused(lacking)
    told = refused({n: t for n, t in good.items() if n not in names[10:17]})
    assert told.count("is missing") == 3
    assert "(6 in all)" in told  # the seventh is a counter, of which a missing one is zero
    assert "ema.bias is no tensor of the network (1 in all)" in refused(
        good | {"ema.bias": torch.zeros(1)}
    )
    shape = "x".join(map(str, good["backbone.layer1.0.conv2.weight"].shape))
    told = refused(good | {"backbone.layer1.0.conv2.weight": torch.zeros(2, 3)})
    assert f"backbone.layer1.0.conv2.weight must be {shape}, got 2x3 (1 in all)" in told
    other = next(x for x in LAYOUTS if x != layout)
    assert "in all)" in refused(random_tensors(other))
    with pytest.raises(ValueError, match="layout must be one of authors, mmseg"):
        import_state("torchvision", good)


def test_copies_of_a_shared_tensor_must_be_equal() -> None:
    tensors = random_tensors("authors")
    name = "context.2.stages.0.f_key.1.0.running_mean"
    with pytest.raises(ValueError, match=rf"f_query\.1\.0\.running_mean and {name} must be equal"):
        import_state("authors", tensors | {name: tensors[name] + 1})


def test_a_network_that_is_not_the_layouts_is_not_exported(tmp_path: Path) -> None:
    state = import_state("mmseg", random_tensors("mmseg"))
    spoilt = state | pixel_statistics("caffe")
    with pytest.raises(
        ValueError, match="mean must be that of the layout; variance must be that of"
    ):
        export_state("mmseg", spoilt)
    with pytest.raises(ValueError, match=r"stem\.0\.weight must be 64x"):
        export_state("authors", state)
    network = networks.describe_layout("mmseg")
    export.check_network(tmp_path, network, "mmseg")
    for key, value in (("ceil_mode", True), ("options", network["options"] | {"scale": False})):
        with pytest.raises(InputError, match=r"must be .* in the mmseg layout"):
            export.check_network(tmp_path, network | {key: value}, "mmseg")


def make_workplace(path: Path, classes: list[str], images: Tensor) -> list[Sample]:
    """params.yaml with one checkpoint, the published figures and a prepared split of the images."""
    settings = small(yaml_file.read_yaml(ROOT / "params.yaml"))
    settings["checkpoints"] = {"released": {"file": "released.pth", "layout": "authors"}}
    yaml_file.write_yaml(path / "params.yaml", settings)
    write_claims(path, settings["variants"])
    shutil.copy(ROOT / "reports/published.yaml", path / "reports")
    data, rng = path / locate_prepared("embedded"), np.random.default_rng(0)
    data.mkdir(parents=True)
    samples = [
        Sample(
            image.permute(1, 2, 0).numpy().astype(np.uint8),
            rng.integers(0, len(classes), image.shape[1:], dtype=np.uint8),
        )
        for image in images
    ]
    writer = Writer(data, "val")
    for i, sample in enumerate(samples):
        writer.add(str(i), sample)
    writer.close()
    splits = records.Splits(train=split(), val=split(count=len(samples)))
    records.write(data / MANIFEST, manifest(classes, splits=splits))
    return samples


@pytest.mark.slow
def test_a_checkpoint_is_scored_told_of_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = ["a", "b", "c", "d"]
    images = torch.cat([blobs(2), blobs(3)])
    samples = make_workplace(tmp_path, classes, images)
    monkeypatch.chdir(tmp_path)
    tensors = random_tensors("authors")
    with pytest.raises(
        InputError, match=r"checkpoints\.released\.file must be .* no 'released\.pth'"
    ):
        check.main()
    file = Path("released.pth")
    torch.save({"state_dict": {f"module.{name}": t for name, t in tensors.items()}}, file)
    check.main()
    imported.main("released")

    with torch.inference_mode():
        logits, _ = published.authors(published.Named(tensors), images, torch.float32)
    full = F.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=True)
    labels = np.stack([s.label for s in samples])
    expected = np.zeros((4, 4), int)
    np.add.at(expected, (labels, full.argmax(dim=1).numpy()), 1)
    scores = json.loads(Path("runs/embedded/released/scores.json").read_text(encoding="utf-8"))
    scores = scores["protocols"]["whole"]
    assert np.abs(np.array(scores["confusion"]) - expected).sum() < 1e-3 * labels.size
    assert len(np.unique(full.argmax(dim=1))) > 1  # or else any network would do

    collect.main()
    report.main()
    row = pd.read_csv("reports/embedded/tables/imported.csv").iloc[0]
    assert (row["checkpoint"], row["layout"]) == ("released", "authors")
    assert (row["classes"], row["images"]) == (4, 2)
    assert row["file"] == digest_file(file)[:12]
    assert row["miou"] == pytest.approx(100 * scores["miou"], abs=1e-3)
    assert pd.isna(row["published"])  # drawn scenes are not Cityscapes
    page = Path("reports/embedded/tables/imported.md").read_text(encoding="utf-8")
    assert "not comparable with published numbers" in page
    assert "[imported](tables/imported.md)" in Path("reports/embedded/README.md").read_text(
        encoding="utf-8"
    )
    assert pd.read_csv("reports/embedded/tables/ablation.csv")["n"].tolist() == [0, 0, 0]

    weights = Path("weights/embedded/released.safetensors")
    export.main("authors", weights, Path("again.pth"))
    assert same(foreign.read_tensors(Path("again.pth")).content["state_dict"], tensors)
    with pytest.raises(InputError, match=r"must be .* in the mmseg layout"):
        export.main("mmseg", weights, Path("other.pth"))
    for large in (file, weights, Path("again.pth")):
        large.unlink()


def test_a_checkpoint_that_does_not_fit_the_data_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_workplace(tmp_path, ["a", "b"], blobs(0))
    held = foreign.ForeignFile({"model": random_tensors("authors")}, [])
    monkeypatch.setattr("pipeline.scoring.imported.read_tensors", lambda _: held)
    Path("released.pth").touch()
    check.main()
    with pytest.raises(InputError, match="must be trained for the 2 classes of cityscapes, got 4"):
        imported.main("released")
    with pytest.raises(InputError, match="must list 'other'; it lists released"):
        imported.main("other")
    assert not Path("weights").exists()
