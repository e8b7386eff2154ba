"""The embedded dataset: repeatable, complete, and with cues that do not leak."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ann import SegmentationNetwork
from pipeline.data.formats import DATASETS, IGNORE, scene
from pipeline.stages.prepare import prepare

HEIGHT, WIDTH = 128, 256
CITYSCAPES = DATASETS["cityscapes"]
LOOK_ALIKES = (
    ("truck", "bus", "train"),
    ("wall", "fence"),
    ("person", "rider"),
    ("bicycle", "motorcycle"),
)
CUES = ("traffic sign", "traffic light", "car", "terrain", "vegetation")


def pictures(count: int) -> tuple[np.ndarray, np.ndarray]:
    drawn = [scene.draw(0, i, HEIGHT, WIDTH) for i in range(count)]
    images, labels = (np.stack(part) for part in zip(*drawn, strict=True))
    return images, CITYSCAPES.lookup[labels]


def test_a_picture_is_a_function_of_seed_and_index() -> None:
    one, again, other = (scene.draw(s, 3, HEIGHT, WIDTH) for s in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[0], other[0])


def test_the_cityscapes_loader_reads_it(tmp_path: Path) -> None:
    root, out = tmp_path / "scene", tmp_path / "out"
    out.mkdir()
    scene.write(root, counts={"train": 24, "val": 8}, seed=0, height=HEIGHT, width=WIDTH)
    manifest = prepare(CITYSCAPES, root, out)
    for split, count in (("train", 24), ("val", 8)):
        assert getattr(manifest.splits, split).count == count
        assert all(getattr(manifest.splits, split).pixels.values())  # all 19 classes occur
        assert getattr(manifest.splits, split).ignored_pixels > 0
    first, other = (next(root.glob(f"leftImg8bit/{s}/*/*.png")) for s in ("train", "val"))
    assert first.read_bytes() != other.read_bytes()


@pytest.mark.parametrize("group", LOOK_ALIKES)
def test_look_alikes_have_one_appearance(group: tuple[str, ...]) -> None:
    """Mean colour, spread, size and place agree within what chance allows."""
    images, labels = pictures(600)
    told = []
    for name in group:
        mask = labels == CITYSCAPES.classes.index(name)
        shown = mask.any(axis=(1, 2))
        colours = np.array([i[m].mean(0) for i, m in zip(images[shown], mask[shown], strict=True)])
        sizes = mask[shown].sum(axis=(1, 2), keepdims=False)[:, None]
        rows = np.array([np.nonzero(m)[0].mean() for m in mask[shown]])[:, None]
        told.append(np.hstack([colours, sizes, rows]))
    for a in told:
        assert len(a) > 600 / len(group) * 0.8  # no class is the likelier guess
        for b in told:
            error = np.sqrt(a.var(0) / len(a) + b.var(0) / len(b))
            assert (np.abs(a.mean(0) - b.mean(0)) < 4.5 * error + 1e-9).all()


def test_the_baseline_cannot_see_a_cue_from_a_look_alike() -> None:
    """No gradient reaches from a look-alike's logits to any cue, with the shipped backbone."""
    torch.manual_seed(0)
    network = SegmentationNetwork(19, backbone="small", widths=(16, 32, 32, 32), channels=48)
    network.eval()
    images, labels = pictures(8)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float().requires_grad_()
    logits = torch.nn.functional.interpolate(
        network(x)[0], labels.shape[1:], mode="bilinear", align_corners=False
    )
    alike = [CITYSCAPES.classes.index(name) for group in LOOK_ALIKES for name in group]
    cues = [CITYSCAPES.classes.index(name) for name in CUES]
    mask = torch.from_numpy(np.isin(labels, alike))
    assert mask.any()
    logits.abs().sum(1)[mask].sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum(1) > 0
    assert seen[mask].any()
    assert not seen[torch.from_numpy(np.isin(labels, cues))].any()


def test_every_cue_decides_its_look_alikes() -> None:
    """What a network with a view of the whole picture could know: the classes follow the cues."""
    _, labels = pictures(60)
    index = CITYSCAPES.classes.index
    for label in labels:
        present = set(np.unique(label).tolist()) - {IGNORE}
        depots = [d for d in scene.DEPOTS if index(d) in present]
        assert len(depots) == 1
        assert index(scene.DEPOTS[depots[0]]) in present
        cells = {p: (label == index(p)).sum() for p in scene.POSTS}
        most = max(cells, key=lambda p: cells[p])
        for post, classes in scene.POSTS.items():
            assert all((index(c) in present) == (post == most) for c in classes)
