"""params.yaml: every mistake is one sentence with the key, what it must be, and the value."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

import ann
from ann.network import OF_TIMM
from ann.timm_backbone import PREFIX
from pipeline.commands import use
from pipeline.data.formats import DATASETS
from pipeline.engine import yaml_file
from pipeline.engine.errors import InputError
from pipeline.settings import fields, inputs, options, params, schema

ROOT = Path(__file__).parents[1]
GOOD = yaml_file.read_yaml(ROOT / "params.yaml")
TRAIN = "profiles.embedded.train"
CONTEXTS = "profiles.embedded.network.contexts"
EVALUATE = "profiles.cityscapes.evaluate"


def changed(key: str, value: Any) -> dict[str, Any]:
    """The shipped settings with one value, given by its dotted key, changed or added."""
    settings = copy.deepcopy(GOOD)
    *path, last = key.split(".")
    place = settings
    for step in path:
        place = place[step]
    place[last] = value
    return settings


def load(settings: Any, tmp_path: Path) -> schema.Params:
    file = tmp_path / "params.yaml"
    if not isinstance(settings, str):
        return params.check(settings, file)
    file.write_text(settings, encoding="utf-8")
    return params.load(file)


@pytest.mark.parametrize("profile", list(GOOD["profiles"]))
def test_every_shipped_profile_is_valid(profile: str, tmp_path: Path) -> None:
    data = dict.fromkeys(GOOD["data"], "/data") | {"embedded": "data/embedded"}
    chosen = use.choose(params.validate(GOOD | {"data": data}), profile, more_seeds=True)
    settings = load(GOOD | {"data": data} | chosen, tmp_path)
    assert settings.resolve_network("ann")["fusion"] == "afnb"


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("sedes", [1], "sedes is not a known key"),
        ("profiles.embedded.dataset", "voc", "dataset must be 'cityscapes', 'camvid'"),
        (
            "profiles.embedded.prepare.decode",
            "no",
            "prepare.decode must be a valid",
        ),
        (f"{TRAIN}.momentum", 0.9, f"{TRAIN}.momentum is not a known key"),
        (f"{TRAIN}.iterations", "100", f"{TRAIN}.iterations must be a valid integer"),
        (f"{TRAIN}.iterations", 0, f"{TRAIN}.iterations must be greater than or equal"),
        (f"{TRAIN}.batch_size", 1, f"{TRAIN}.batch_size must be greater than or equal to"),
        (f"{TRAIN}.warmup", 9999, f"{TRAIN}.warmup must be less than the iterations"),
        (f"{TRAIN}.augment.scale", [2.0, 0.5], "augment.scale must be [low, high], got [2.0, 0.5]"),
        (f"{TRAIN}.augment.crop", [64], f"{TRAIN}.augment.crop.1 is missing"),
        (
            f"{TRAIN}.optimizer.momentum",
            0.9,
            "momentum must be set for sgd and null for adamw, got 0.9",
        ),
        ("profile", "cityscape", "profile must be one of embedded, camvid"),
        ("seeds", [], "seeds must have at least 1 item, got []"),
        ("seeds", [1, 1], "must list each value once"),
        ("seeds", [-1], "seeds.0 must be greater than or equal to 0"),
        ("variants.apnb.pool_sizes", [0, 3], "variants.apnb.pool_sizes.0 must be greater"),
        ("variants.apnb.pool_sizes", [-3], "variants.apnb.pool_sizes.0 must be greater"),
        ("variants.apnb.pool_sizes", None, "variants.apnb.pool_sizes is missing"),
        ("variants.nb.pool_sizes", [1], "variants.nb.pool_sizes must be left out without afnb"),
        (
            "variants.random15.pool_sizes",
            [3, 6],
            "random15.pool_sizes must be one size for random, got [",
        ),
        ("variants.apnb.sampling", "mean", "variants.apnb.sampling must be 'random'"),
        (
            "variants.ppm.context",
            "pmp",
            "variants.ppm.context must be one of none, nb, apnb,",
        ),
        (
            "variants.nb.settings",
            {"width": 3},
            "variants.nb.settings must be left out with none, nb, a",
        ),
        (f"{CONTEXTS}.dnl", {}, f"{CONTEXTS} must name files of contexts/, aspp, cri"),
        (
            "variants.nb_fused.options.normalization",
            "none",
            "options.form must be fast or plain with the normalization 'none'",
        ),
        ("variants.apnb.backbone", "vgg", "variants.apnb.backbone must be one of small"),
        ("variants.2big", {"fusion": "none", "context": "nb"}, "a letter first"),
        ("tables.beyond", [], "tables.beyond must have at least 1 item, got []"),
        ("tables.ablation", ["base"], "tables.ablation must list rows of baseline, nb"),
        ("profiles.embedded.network.stem", "deep", "must have the plain stem and no weights"),
        (
            "profiles.embedded.network.pixels",
            "rgb",
            "pixels must be 'imagenet', 'caffe' or 'timm'",
        ),
        (
            "profiles.embedded.network.align_corners",
            True,
            "must be false without train.loss.at_labels",
        ),
        (f"{EVALUATE}.protocols", [], f"{EVALUATE}.protocols must have at least 1 item"),
        (f"{EVALUATE}.protocols", ["whole", "whole"], "must list each value once"),
        (
            f"{EVALUATE}.protocols",
            ["crop"],
            "must be 'whole', 'sliding' or 'multi_scale', got 'crop",
        ),
        (f"{EVALUATE}.protocols", ["whole"], "must be left out without the protocol sliding or"),
        (f"{EVALUATE}.protocols", ["sliding"], f"{EVALUATE}.scales must be left out"),
        (f"{EVALUATE}.window", None, f"{EVALUATE}.window is missing; the protocol sliding needs"),
        (f"{EVALUATE}.flip", None, f"{EVALUATE}.flip is missing; the protocol multi_scale needs"),
        (f"{EVALUATE}.stride", [240, 770], f"{EVALUATE}.stride must be at most the"),
        (f"{EVALUATE}.scales", [1.0, 1.0], f"{EVALUATE}.scales must list each"),
        (f"{EVALUATE}.scales", [0.0], f"{EVALUATE}.scales.0 must be greater than or"),
        ("checkpoints.Mine", {"file": "a.pth", "layout": "mmseg"}, "a letter first"),
        ("checkpoints.a", {"file": "a.pth", "layout": "paddle"}, "must be 'authors' or 'mmseg'"),
        ("checkpoints.a", {"layout": "mmseg"}, "checkpoints.a.file is missing"),
        ("scene.height", 8, "scene.height must be greater than or equal to 64"),
        ("efficiency.sizes", [[96]], "efficiency.sizes.0.1 is missing"),
        ("efficiency.limit", 0, "efficiency.limit must be greater than 0"),
        ("efficiency.curve.fit", 9, "efficiency.curve.fit must be 2 to 6"),
        ("efficiency.sampling", "max", "efficiency.pool_sizes must be one size for max"),
        ("efficiency.modes", [{"device": "tpu"}], "efficiency.modes.0.device must be"),
        ("networks.profile", "paper", "networks.profile must be one of embedded, camvid"),
        ("plan.utilisation", 1.5, "plan.utilisation must be less than or equal to 1"),
        ("plan.tflops", {"bfloat16": 312, "tf32": 156}, "plan.tflops.float32 is missing"),
        ("scene.width", True, "scene.width must be a valid integer"),
    ],
)
def test_one_sentence_for_each_mistake(key: str, value: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(changed(key, value), tmp_path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("profile: [", "is not valid YAML in line"),
        ("- 1", "must hold a mapping of settings, got list"),
        ("", "must hold a mapping of settings, got NoneType"),
        ("!!python/object/apply:os.system ['true']", "is not valid YAML"),
        ("a: &x {b: 1}\nc: {d: [2, *x]}", r"c\.d\.1 is the alias \*x; write its values out"),
        ("a: &x 1\nc: *x", r"c is the alias \*x"),
        ("a: &x [*x]", r"a\.0 is the alias \*x"),
        ("a: {<<: {b: 1}}", "a.<< is a merge key; write its values out"),
        ("a: {b: 1, c: 2, b: 3}", r"a\.b stands twice; keep one"),
        ("a: " + "[" * 100_000, "a is nested deeper than 64 levels"),
        ("a: 1\n---\na: 2", "is not valid YAML in line 2"),
    ],
)
def test_files_that_hold_no_settings(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        load(text, tmp_path)


def test_every_value_of_a_variant_replaces_the_profiles(tmp_path: Path) -> None:
    own = {"fusion": "none", "context": "nb", "backbone": "resnet18", "channels": 7}
    settings = load(changed("variants.nb", own), tmp_path)
    network = settings.resolve_network("nb")
    assert {name: network[name] for name in own} == own
    assert network["key_channels"] == settings.active.network.key_channels


def test_a_run_is_one_of_the_file(tmp_path: Path) -> None:
    settings = load(GOOD, tmp_path)
    params.require_run(settings, "nb", 2)
    for variant, seed, sentence in (
        ("apn", 0, "variant must be one of baseline, nb"),
        ("apnb", 99, "seed must be one of 0, 1, 2"),
    ):
        with pytest.raises(InputError, match=sentence):
            params.require_run(settings, variant, seed)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, dict | list):
            yield from leaves(inner, (*path, key))
        else:
            yield (*path, key), inner


def other(value: Any) -> list[Any]:
    """Values that may stand in the place of `value`."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, 0.9 * value + 0.01]
    words = ("nb", "apnb", "fnb", "max", "sgd", "float32", "rescaling", "residual", "resnet18")
    words += ("deep64", "caffe")
    return [word for word in words if word != value]


def test_a_training_uses_exactly_the_values_that_its_stage_depends_on() -> None:
    """Every leaf of params.yaml is changed in turn; the run changes if and only if DVC sees it."""
    stage = yaml_file.read_yaml(ROOT / "dvc.yaml")["stages"]["train"]
    assert "data/inputs/train/${item.variant}.json" in stage["deps"]

    def seen(raw: dict[str, Any]) -> Any:
        """What that file says of the values."""
        return inputs.of_run(schema.Params.model_validate(raw), "train", "apnb", {"a": "b"})[
            "values"
        ]

    def used(raw: dict[str, Any]) -> Any:
        settings = schema.Params.model_validate(raw)
        return settings.resolve_network("apnb"), settings.active.train

    expected, changes = used(GOOD), {True: 0, False: 0}
    for path, value in leaves(GOOD):
        if path == ("profile",):  # names the stage's data and outputs as well
            continue
        for replacement in other(value):
            raw = copy.deepcopy(GOOD)
            place = raw
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = replacement
            try:
                result = used(raw)
            except ValidationError:
                continue
            depends = seen(raw) != seen(GOOD)
            assert (result != expected) == depends, path
            changes[depends] += 1
            break
    assert changes[True] > 25
    assert changes[False] > 60


def test_the_schema_names_what_the_library_has() -> None:
    """The schema repeats the names, for importing the library takes seconds."""
    assert schema.PAPER_CONTEXTS == ann.CONTEXTS
    for literal, names in (
        (fields.Fusion, ann.FUSIONS),
        (fields.Sampling, ann.SAMPLINGS),
        (fields.Stem, ann.STEMS),
        (fields.Pixels, (*ann.PIXELS, OF_TIMM)),
        (fields.Layout, ann.LAYOUTS),
    ):
        assert get_args(literal) == names
    assert get_args(schema.Profile.model_fields["dataset"].annotation) == tuple(DATASETS)
    assert fields.BACKBONES == ann.BACKBONES
    assert fields.TIMM == PREFIX
    own = options.Options.model_fields
    assert get_args(own["normalization"].annotation) == ann.NORMALIZATIONS
    assert get_args(own["output"].annotation) == ann.OUTPUTS
    assert get_args(own["form"].annotation) == ann.FORMS
    assert set(own) | {"form"} == set(ann.BlockOptions.__dataclass_fields__)
