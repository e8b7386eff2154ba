"""What scoring does around the protocols: which networks it takes, batches, sizes and means."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ann import Ohem
from ann.noise import Dropout2d, uniform
from pipeline.engine import checkpoint, networks
from pipeline.engine.errors import InputError
from pipeline.scoring.categories import categories
from pipeline.scoring.groups import group_by_size, share_groups
from pipeline.scoring.predict import load_network, resize_for_whole, stack_images
from pipeline.scoring.protocols import exceeds, resize, scaled_size
from pipeline.scoring.results import merge, protocol_scores
from pipeline.scoring.sizes import list_input_sizes
from pipeline.settings import params
from pipeline.settings.schema import Evaluate
from tests.conftest import ROOT

SETTINGS = params.load(ROOT / "params.yaml")


def settings(**given: Any) -> Evaluate:
    known = {"batch_size": 2, "precision": "float32", "threads": 1, "protocols": ["whole"]}
    return Evaluate.model_validate(known | given)


WINDOWS = {"window": (40, 64), "stride": (20, 30), "scales": [0.5, 1.25], "flip": True}


@pytest.mark.parametrize(
    ("size", "protocol", "given", "expected"),
    [
        ((48, 96), "whole", {}, {(48, 96)}),
        ((96, 48), "whole", {}, {(96, 48)}),
        ((48, 96), "whole", {"sides": (24, 1000)}, {(24, 48)}),
        ((48, 96), "whole", {"sides": (96, 120)}, {(60, 120)}),  # the longer side decides
        ((48, 96), "sliding", WINDOWS, {(40, 64)}),
        ((20, 30), "sliding", WINDOWS, {(40, 64)}),  # a smaller image is filled up
        ((48, 96), "multi_scale", WINDOWS, {(24, 48), (40, 64)}),
        ((100, 200), "multi_scale", WINDOWS, {(40, 64)}),  # in windows at the smallest scale, too
        ((80, 128), "multi_scale", WINDOWS, {(40, 64)}),  # 40x64 is not larger than the window
        ((72, 120), "multi_scale", WINDOWS, {(36, 60), (40, 64)}),
        ((80, 130), "multi_scale", WINDOWS | {"window": (30, 64)}, {(30, 64)}),
        ((48, 96), "multi_scale", WINDOWS | {"sides": (60, 1000)}, {(30, 60), (40, 64)}),
        ((48, 96), "multi_scale", WINDOWS | {"window": None}, {(24, 48), (60, 120)}),
    ],
)
def test_the_sizes_that_a_network_is_shown(
    size: tuple[int, int],
    protocol: str,
    given: dict[str, Any],
    expected: set[tuple[int, int]],
) -> None:
    found = settings(**({"protocols": [protocol]} | given))
    assert list_input_sizes(size, protocol, found) == expected


def test_sizes_and_scales() -> None:
    assert scaled_size((5, 7), 0.5) == (3, 4)  # a half is rounded up
    assert scaled_size((1, 3), 0.1) == (1, 1)
    assert [exceeds((4, 6), w) for w in ((4, 6), (3, 6), (4, 5), (9, 9))] == [
        False,
        True,
        True,
        False,
    ]
    images = torch.arange(48, dtype=torch.uint8).view(1, 3, 4, 4)
    assert resize(images, 1.1) is images  # of the same size after rounding
    checks = (torch.arange(64).view(1, 1, 8, 8) % 2 * 200).to(torch.uint8).expand(1, 3, 8, 8)
    assert ((resize(checks, 0.375) - 100.0).abs() < 20).all()  # no pixel alone: antialiased
    given = settings(sides=(8, 1000))
    assert resize_for_whole(images, given).shape == (1, 3, 8, 8)


class Sizes:
    def __init__(self, *sizes: tuple[int, int]) -> None:
        self.sizes = list(sizes)


def test_batches_are_of_one_size_and_in_order() -> None:
    a, b = (4, 6), (6, 4)
    groups = group_by_size(Sizes(a, a, a, b, a, b, b, b), 2)  # type: ignore[arg-type]
    assert groups == [[0, 1], [2], [3], [4], [5, 6], [7]]
    assert group_by_size(Sizes(), 2) == []  # type: ignore[arg-type]


def test_processes_share_the_groups_and_the_first_has_those_to_keep() -> None:
    groups = [[0, 1], [2], [3], [4], [5, 6], [7]]
    shares = [
        share_groups(
            groups, [0, 4], SimpleNamespace(global_rank=r, world_size=2, is_global_zero=not r)
        )  # type: ignore[arg-type]
        for r in range(2)
    ]
    assert sorted(shares[0] + shares[1]) == groups
    assert shares == [[[0, 1], [2], [4], [5, 6]], [[3], [7]]]


def test_images_become_a_batch_channels_first() -> None:
    pixels = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    found = stack_images([pixels[0], pixels[1]])
    assert found.shape == (2, 3, 4, 5)
    assert found[1, 2, 3, 4] == pixels[1, 3, 4, 2]


def network_file(folder: Path, **changes: Any) -> Path:
    network = SETTINGS.resolve_network("ann") | {"widths": [8, 8, 8, 8], "channels": 8} | changes
    file = folder / "network.safetensors"
    torch.manual_seed(0)
    state = networks.build(network, 2).state_dict()
    checkpoint.save(file, state, network=network, classes=["a", "b"])
    return file


def test_a_network_is_loaded_ready_to_predict(tmp_path: Path) -> None:
    file = network_file(tmp_path)
    made = load_network(file, "x", ["a", "b"], [(128, 256)], settings())
    assert not made.training
    assert made.reduce[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.get_num_threads() == 1
    for classes in (["b", "a"], ["a", "b", "c"]):
        with pytest.raises(InputError, match=r"must be trained for the \d classes of x"):
            load_network(file, "x", classes, [(128, 256)], settings())


def test_category_iou_is_of_the_merged_matrix() -> None:
    confusion = np.array([[5, 1, 2], [3, 7, 0], [1, 0, 9]])
    groups = {"one": [0, 2], "two": [1]}
    merged = merge(confusion, list(groups.values()))
    assert merged.tolist() == [[5 + 2 + 1 + 9, 1 + 0], [3 + 0, 7]]
    told = protocol_scores(confusion, ["a", "b", "c"], groups)
    assert told.category_iou == {"one": 17 / 21, "two": 7 / 11}
    assert told.category_miou == pytest.approx((17 / 21 + 7 / 11) / 2)
    assert told.class_iou == {"a": 5 / 12, "b": 7 / 11, "c": 9 / 12}
    assert told.classes_present == 3
    assert told.confusion == confusion.tolist()


def test_cityscapes_categories_by_hand() -> None:
    from pipeline.data.formats import DATASETS

    classes = list(DATASETS["cityscapes"].classes)
    found = categories(classes)
    assert found is not None
    names = {category: [classes[i] for i in ids] for category, ids in found.items()}
    assert names == {
        "flat": ["road", "sidewalk"],
        "construction": ["building", "wall", "fence"],
        "object": ["pole", "traffic light", "traffic sign"],
        "nature": ["vegetation", "terrain"],
        "sky": ["sky"],
        "human": ["person", "rider"],
        "vehicle": ["car", "truck", "bus", "train", "motorcycle", "bicycle"],
    }
    assert categories(classes[::-1]) is None


def splitmix(key: int, stream: int, number: int) -> float:
    """Return one number by the published generator, in Python's integers."""
    mask = 2**64 - 1
    x = (key + (number + (stream << 32)) * 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return ((x ^ (x >> 31)) >> 40) / 2**24


def test_randomness_is_the_published_generator() -> None:
    sample_ids = [0, 1, -1, 2**62 + 12345]
    for stream in (0, 1, 257):
        found = uniform(torch.tensor(sample_ids), stream, 5)
        expected = [[splitmix(k & (2**64 - 1), stream, n) for n in range(1, 6)] for k in sample_ids]
        assert found.dtype == torch.float32
        assert found.tolist() == expected


def test_dropout_keeps_whole_channels_and_their_mean() -> None:
    sample_ids, layer = torch.tensor([3, 9]), Dropout2d(0.25, stream=5)
    x = torch.ones(2, 40, 2, 3)
    keep = uniform(sample_ids, 5, 40) >= 0.25
    expected = (keep / 0.75)[:, :, None, None].expand_as(x)
    assert torch.equal(layer(x, sample_ids), expected)
    assert torch.equal(layer.eval()(x, None), x)
    assert torch.equal(Dropout2d(0.0, 5)(x, None), x)
    with pytest.raises(ValueError, match="dropout in training needs one id a sample"):
        layer.train()(x, None)


def test_the_released_codes_ohem() -> None:
    assert Ohem() == Ohem(threshold=0.7, min_kept=100_000)
