"""params.yaml: every mistake is one sentence with the key, the value and what is allowed."""

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
        ("profiles.embedded.dataset", "voc", "dataset is 'voc'; allowed is 'cityscapes', 'camvid'"),
        (
            "profiles.embedded.prepare.decode",
            "no",
            "prepare.decode is 'no'; allowed is a valid",
        ),
        (f"{TRAIN}.momentum", 0.9, f"{TRAIN}.momentum is not a known key"),
        (f"{TRAIN}.iterations", "100", f"{TRAIN}.iterations is '100'; allowed is a valid integer"),
        (f"{TRAIN}.iterations", 0, f"{TRAIN}.iterations is 0; allowed is greater than or equal"),
        (f"{TRAIN}.batch_size", 1, f"{TRAIN}.batch_size is 1; allowed is greater than or equal to"),
        (f"{TRAIN}.warmup", 9999, f"{TRAIN}.warmup is 9999; allowed is less than the iterations"),
        (f"{TRAIN}.augment.scale", [2.0, 0.5], "allowed is low first"),
        (f"{TRAIN}.augment.crop", [64], f"{TRAIN}.augment.crop.1 is missing"),
        (f"{TRAIN}.optimizer.momentum", 0.9, "sgd needs it and adamw has none"),
        ("profile", "cityscape", "profile is 'cityscape'; allowed are embedded, camvid"),
        ("seeds", [], "seeds is []; "),
        ("seeds", [1, 1], "allowed is each once"),
        ("seeds", [-1], "seeds.0 is -1; allowed is greater than or equal to 0"),
        ("variants.apnb.pool_sizes", [0, 3], "variants.apnb.pool_sizes.0 is 0; allowed is greater"),
        ("variants.apnb.pool_sizes", [-3], "variants.apnb.pool_sizes.0 is -3; allowed is greater"),
        ("variants.apnb.pool_sizes", None, "variants.apnb.pool_sizes is missing"),
        ("variants.nb.pool_sizes", [1], "variants.nb.pool_sizes is [1]; allowed only with afnb"),
        ("variants.random15.pool_sizes", [3, 6], "random sampling takes one size"),
        ("variants.apnb.sampling", "mean", "variants.apnb.sampling is 'mean'; allowed is 'random'"),
        (
            "variants.ppm.context",
            "pmp",
            "variants.ppm.context is 'pmp'; allowed are none, nb, apnb,",
        ),
        ("variants.nb.settings", {"width": 3}, "variants.nb.settings is {'width': 3}; none, nb, a"),
        (f"{CONTEXTS}.dnl", {}, f"{CONTEXTS}.dnl is no file of contexts/; allowed are aspp, cri"),
        (
            "variants.nb_fused.options.normalization",
            "none",
            "options.form is 'fused'; allowed with the normalization 'none' are fast, plain",
        ),
        ("variants.apnb.backbone", "vgg", "variants.apnb.backbone is 'vgg'; allowed are small"),
        ("variants.2big", {"fusion": "none", "context": "nb"}, "a letter first"),
        ("tables.beyond", [], "tables.beyond is []; "),
        ("tables.ablation", ["base"], "tables.ablation lists 'base'; allowed are baseline, nb"),
        ("profiles.embedded.network.stem", "deep", "it has the plain stem and no weights"),
        (
            "profiles.embedded.network.pixels",
            "rgb",
            "pixels is 'rgb'; allowed is 'imagenet', 'caffe' or 'timm'",
        ),
        (
            "profiles.embedded.network.align_corners",
            True,
            "allowed without train.loss.at_labels is",
        ),
        (f"{EVALUATE}.protocols", [], f"{EVALUATE}.protocols is []; "),
        (f"{EVALUATE}.protocols", ["whole", "whole"], "allowed is each once"),
        (f"{EVALUATE}.protocols", ["crop"], "is 'crop'; allowed is 'whole', 'sliding' or 'multi"),
        (f"{EVALUATE}.protocols", ["whole"], "allowed only with the protocol sliding or multi_"),
        (f"{EVALUATE}.protocols", ["sliding"], f"{EVALUATE}.scales is [0.75, 1.0, 1.25]; allowed"),
        (f"{EVALUATE}.window", None, f"{EVALUATE}.window is missing; the protocol sliding needs"),
        (f"{EVALUATE}.flip", None, f"{EVALUATE}.flip is missing; the protocol multi_scale needs"),
        (f"{EVALUATE}.stride", [240, 770], f"{EVALUATE}.stride is [240, 770]; allowed are steps"),
        (f"{EVALUATE}.scales", [1.0, 1.0], f"{EVALUATE}.scales is [1.0, 1.0]; allowed is each"),
        (f"{EVALUATE}.scales", [0.0], f"{EVALUATE}.scales.0 is 0.0; allowed is greater than or"),
        ("checkpoints.Mine", {"file": "a.pth", "layout": "mmseg"}, "a letter first"),
        ("checkpoints.a", {"file": "a.pth", "layout": "paddle"}, "allowed is 'authors' or 'mmseg'"),
        ("checkpoints.a", {"layout": "mmseg"}, "checkpoints.a.file is missing"),
        ("scene.height", 8, "scene.height is 8; allowed is greater than or equal to 64"),
        ("efficiency.sizes", [[96]], "efficiency.sizes.0.1 is missing"),
        ("efficiency.limit", 0, "efficiency.limit is 0; allowed is greater than 0"),
        ("efficiency.curve.fit", 9, "efficiency.curve.fit is 9; allowed are 2 to 6"),
        ("efficiency.sampling", "max", "efficiency.pool_sizes is [1, 3, 6, 8]; max sampling takes"),
        ("efficiency.modes", [{"device": "tpu"}], "efficiency.modes.0.device is 'tpu'; allowed is"),
        ("networks.profile", "paper", "networks.profile is 'paper'; allowed are embedded, camvid"),
        ("plan.utilisation", 1.5, "plan.utilisation is 1.5; allowed is less than or equal to 1"),
        ("plan.tflops", {"bfloat16": 312, "tf32": 156}, "plan.tflops.float32 is missing"),
        ("scene.width", True, "scene.width is True; allowed is a valid integer"),
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
        ("- 1", "holds list; allowed is a mapping"),
        ("", "holds NoneType"),
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
        ("apn", 0, "variant is 'apn'; allowed are baseline, nb"),
        ("apnb", 99, "seed is 99; allowed are 0, 1, 2"),
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
