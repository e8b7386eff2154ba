"""What a network cannot take is one sentence before the training, with the block's own reason."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import contexts
from pipeline.engine import checkpoint, networks, yaml_file
from pipeline.engine.errors import InputError
from pipeline.scoring.predict import load_network
from pipeline.scoring.sizes import evaluation_trials
from pipeline.settings import params, schema, trials
from pipeline.stages import check, train
from pipeline.training.run import Run
from tests.conftest import ROOT, small
from tests.recorded import manifest

CONTEXTS = ("ppm", "aspp", "ann", "criss_cross")


def settings_with(evaluate: dict[str, Any] | None = None, **train: Any) -> schema.Params:
    """Settings of four variants whose crop is 64x128, an 8x16 feature map."""
    raw = yaml_file.read_yaml(ROOT / "params.yaml")
    variants = raw["variants"]
    raw = small(raw)
    raw["variants"] = {name: variants[name] for name in CONTEXTS}
    raw |= {"tables": {"beyond": ["ann"]}, "rows": list(CONTEXTS)}
    for profile in raw["profiles"].values():
        profile["tables"] = ["beyond"]
    embedded = raw["profiles"]["embedded"]
    embedded["train"] |= train
    embedded["evaluate"] |= evaluate or {}
    embedded["network"]["contexts"]["aspp"]["rates"] = [1, 2, 4]
    return params.check(raw)


def refusal(settings: schema.Params) -> str:
    with pytest.raises(InputError) as caught:
        check.check_networks(settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("batch_size", "micro_batch", "processes", "sizes"),
    [
        *((4, None, 1, [4]), (4, 1, 1, [1]), (3, 2, 1, [2, 1]), (4, 2, 1, [2]), (4, 9, 1, [4])),
        *((8, None, 8, [8]), (8, 1, 4, [4]), (12, 2, 4, [8, 4])),
    ],
)
def test_the_sizes_that_training_takes_at_once(
    batch_size: int, micro_batch: int | None, processes: int, sizes: list[int]
) -> None:
    train = settings_with(batch_size=batch_size, micro_batch=micro_batch).active.train
    tried = trials.list_training_trials(train, processes)
    assert [t.batch for t in tried] == sizes
    assert all(t.training and t.size == (64, 128) for t in tried)


@pytest.mark.parametrize("variant", ["ppm", "aspp"])
@pytest.mark.parametrize(("batch_size", "micro_batch"), [(4, 1), (3, 2)])
def test_a_single_sample_is_refused_where_a_batch_norm_needs_two(
    variant: str, batch_size: int, micro_batch: int
) -> None:
    settings = settings_with(batch_size=batch_size, micro_batch=micro_batch)
    found = trials.list_training_trials(settings.active.train)
    with pytest.raises(InputError, match=f"variants.{variant} cannot train on 1 sample at once"):
        trials.check_network(f"variants.{variant}", settings.resolve_network(variant), found)
    trials.check_network("variants.ann", settings.resolve_network("ann"), found)
    assert "set train.micro_batch so that train.batch_size has no part of 1" in refusal(settings)
    check.check_networks(settings_with(batch_size=4, micro_batch=2))


def test_the_backbones_own_batch_norms_count() -> None:
    """A crop of one feature map position, which no block is to blame for."""
    settings = settings_with(batch_size=2, micro_batch=1)
    augment = settings.active.train.augment.model_copy(update={"crop": (8, 8)})
    train = settings.active.train.model_copy(update={"augment": augment})
    network = settings.resolve_network("ann") | {"context": "none", "fusion": "none"}
    with pytest.raises(InputError, match="cannot train on 1 sample at once"):
        trials.check_network("x", network, trials.list_training_trials(train))


SHOWN = [
    ({"sides": [32, 64]}, "of which whole shows 32x64"),
    (
        {"protocols": ["whole", "multi_scale"], "scales": [0.5, 1.0], "flip": True},
        "of which multi_scale shows 32x64",
    ),
    (
        {"protocols": ["sliding"], "window": [32, 32], "stride": [16, 16]},
        "for a window of 32x32",
    ),
]


@pytest.mark.parametrize(("evaluate", "told"), SHOWN)
def test_what_an_evaluation_shows_is_tried_before_the_training(
    evaluate: dict[str, Any], told: str
) -> None:
    sentence = refusal(settings_with(evaluate))
    assert sentence.startswith("variants.aspp: rates must be 1 to")
    assert told in sentence


def test_random_sampling_on_a_small_image_is_refused_and_averages_are_not() -> None:
    settings = settings_with()
    tried = evaluation_trials([(200, 200), (30, 30)], settings.active.evaluate)
    for variant in ("ann", "ppm", "criss_cross"):  # 8x8 averages and 6x6 bins of a 4x4 map
        trials.check_network(variant, settings.resolve_network(variant), tried)
    network = settings.resolve_network("ann") | {"sampling": "random", "pool_sizes": [5]}
    with pytest.raises(
        InputError, match=r"w\.safetensors: pool_sizes must draw .* got \[5\] .*image of 30x30"
    ):
        trials.check_network("w.safetensors", network, tried)


def test_the_smallest_and_the_largest_sizes_are_tried() -> None:
    sizes = [(50, 90), (90, 50), (60, 60), (40, 200), (300, 70), (70, 70)]
    evaluate = settings_with().active.evaluate
    tried = {t.size for t in evaluation_trials(sizes, evaluate)}
    assert tried == {(40, 200), (90, 50), (60, 60), (300, 70)}


class Odd(nn.Module):
    """Blocks that other people could write."""

    def __init__(self, channels: int, options: object, *, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Any:
        if self.kind == "shape":
            return self.linear(x)
        return x[:, :, ::2] if self.kind == "half" else (x, x)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("shape", "v: it raises RuntimeError ("),
        (
            "half",
            "v: its context must return the shape that it takes, (2, 48, 8, 16), got (2, 48, 4",
        ),
        ("tuple", "(2, 48, 8, 16), got tuple"),
    ],
)
def test_any_error_of_a_block_is_one_sentence(
    kind: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = type(contexts)("odd")
    module.Context = Odd  # type: ignore[attr-defined]
    monkeypatch.setattr(contexts, "load", lambda _: module)
    settings = settings_with()
    network = settings.resolve_network("ppm") | {"context": "odd", "settings": {"kind": kind}}
    with pytest.raises(InputError) as caught:
        trials.check_network("v", network, trials.list_training_trials(settings.active.train))
    assert sentence in str(caught.value)


def test_pool_sizes_of_the_efficiency_stage_fit_its_maps() -> None:
    settings = settings_with()
    wrong = settings.efficiency.model_copy(update={"sampling": "random", "pool_sizes": [9]})
    assert "efficiency.pool_sizes must draw at most 64" in refusal(
        settings.model_copy(update={"efficiency": wrong})
    )


def test_a_network_is_loaded_for_the_images_that_it_takes_alone(tmp_path: Path) -> None:
    """As evaluate, predict and submit load it."""
    settings = settings_with()
    network, file, classes = (
        settings.resolve_network("aspp"),
        tmp_path / "aspp.safetensors",
        ["a", "b"],
    )
    checkpoint.save(file, networks.build(network, 2).state_dict(), network=network, classes=classes)
    evaluate, threads = settings.active.evaluate, torch.get_num_threads()
    load_network(file, "d", classes, [(64, 128)], evaluate)
    with pytest.raises(InputError, match=r"aspp.safetensors: rates must be .* an image of 24x90\)"):
        load_network(file, "d", classes, [(64, 128), (24, 90)], evaluate)
    torch.set_num_threads(threads)


def test_train_tries_the_validation_images_by_every_protocol() -> None:
    scales = {"protocols": ["whole", "multi_scale"], "scales": [0.25, 1.0], "flip": False}
    settings = settings_with(scales)
    data = manifest(["a"])
    for variant, fits in (("ann", True), ("aspp", False)):
        network, train_ = settings.resolve_network(variant), settings.active.train
        run = Run("embedded", variant, 0, network, train_, data, "float32", "cpu", 1)
        with (
            contextlib.nullcontext()
            if fits
            else pytest.raises(InputError, match="multi_scale shows 16x32")
        ):
            train.check_network(settings, run, [(64, 128)])
