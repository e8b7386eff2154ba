"""Check the values of params.yaml that are valid alone but not together."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import contexts
from pipeline.engine.errors import shorten
from pipeline.settings.backbone_rules import check_backbone, check_cached, check_frozen
from pipeline.settings.costs import Efficiency
from pipeline.settings.fields import NetworkSettings
from pipeline.settings.paths import EMBEDDED, SHARED
from pipeline.settings.schema import PAPER_CONTEXTS, Evaluate, Params, Profile, Variant


def list_problems(params: Params) -> list[str]:
    """Return a sentence for each problem, with the key, what it must be, and its value."""
    if params.profile not in params.profiles:
        return [f"profile must be one of {', '.join(params.profiles)}, got {params.profile!r}"]
    problems = []
    for name, variant in params.variants.items():
        problems += _check_variant(f"variants.{name}", variant, params.resolve_network(name))
    for table, rows in params.tables.items():
        problems += [
            f"tables.{table} must list rows of {', '.join(params.variants)}, got {row!r}"
            for row in rows
            if row not in params.variants
        ]
    problems += _check_once("seeds", params.seeds)
    problems += _check_rows("rows", params.rows, params)
    for name, profile in params.profiles.items():
        problems += _check_presets(name, profile, params)
        problems += _check_profile(f"profiles.{name}", profile)
        problems += check_cached(f"profiles.{name}", profile, params)
    problems += _check_data(params)
    problems += _check_efficiency(params.efficiency)
    if params.networks.profile not in params.profiles:
        problems.append(
            f"networks.profile must be one of {', '.join(params.profiles)}, got "
            f"{params.networks.profile!r}"
        )
    return problems


def _check_once(key: str, values: Sequence[object]) -> Iterator[str]:
    if len(set(values)) < len(values):
        yield f"{key} must list each value once, got {shorten(list(values))}"


def _check_pool_sizes(key: str, sampling: str | None, sizes: Sequence[int]) -> Iterator[str]:
    if sampling and not sampling.startswith("pyramid_") and len(sizes) > 1:
        yield f"{key}.pool_sizes must be one size for {sampling}, got {list(sizes)}"


def _check_rows(key: str, rows: Sequence[str], params: Params) -> Iterator[str]:
    for row in rows:
        if row not in params.variants:
            yield f"{key} must list rows of {', '.join(params.variants)}, got {row!r}"
    yield from _check_once(key, rows)


def _check_data(params: Params) -> Iterator[str]:
    """Check that dataset_dir is the folder of the active profile's data."""
    if params.data.get(EMBEDDED.name, str(EMBEDDED)) != str(EMBEDDED):
        yield (
            f"data.{EMBEDDED.name} must be {EMBEDDED}, where the scene stage draws it, got "
            f"{params.data[EMBEDDED.name]!r}"
        )
    name = params.active.data
    folder, use = params.data.get(name), f"`python -m pipeline use {params.profile}`"
    here = Path(params.dataset_dir)
    if folder and Path(folder) != here:
        yield (
            f"dataset_dir is {params.dataset_dir!r}, but data.{name} is {folder!r}; run {use} to "
            f"set it"
        )
    for other, place in params.data.items():
        if not folder and place and Path(place) == here:
            yield (
                f"dataset_dir is {params.dataset_dir!r}, the folder of data.{other}; set "
                f"data.{name} to the folder of the profile {params.profile}, and run {use}"
            )


def _check_presets(name: str, profile: Profile, params: Params) -> Iterator[str]:
    """Check what `use` writes for a profile."""
    key = f"profiles.{name}"
    if name in SHARED:
        yield f"{key} must have another name than the files of reports/: {', '.join(SHARED)}"
    if profile.data not in params.data:
        yield f"{key}.data must be one of {', '.join(params.data)}, got {profile.data!r}"
    for table in profile.tables:
        if table not in params.tables:
            yield f"{key}.tables must list tables of {', '.join(params.tables)}, got {table!r}"
    yield from _check_once(f"{key}.tables", profile.tables)
    yield from _check_rows(f"{key}.rows", profile.rows or [], params)
    yield from _check_once(f"{key}.seeds and more_seeds", [*profile.seeds, *profile.more_seeds])


def _check_variant(key: str, variant: Variant, network: NetworkSettings) -> list[str]:
    problems = []
    asymmetric = variant.fusion == "afnb" or variant.context == "apnb"
    for name in ("sampling", "pool_sizes"):
        value = getattr(variant, name)
        if asymmetric and value is None:
            problems.append(f"{key}.{name} is missing; afnb and apnb need it")
        if not asymmetric and value is not None:
            problems.append(f"{key}.{name} must be left out without afnb and apnb, got {value!r}")
    allowed = (*PAPER_CONTEXTS, *contexts.names())
    if variant.context not in allowed:
        problems.append(
            f"{key}.context must be one of {', '.join(allowed)}, got {variant.context!r}"
        )
    if variant.context in PAPER_CONTEXTS and variant.settings is not None:
        problems.append(
            f"{key}.settings must be left out with {', '.join(PAPER_CONTEXTS)}, got "
            f"{variant.settings}"
        )
    options = network["options"]
    if options["form"] == "fused" and options["normalization"] != "softmax":
        problems.append(
            f"{key}.options.form must be fast or plain with the normalization "
            f"{options['normalization']!r}, got 'fused'"
        )
    problems += check_backbone(key, network)
    problems += _check_pool_sizes(key, variant.sampling, variant.pool_sizes or [])
    keys, values = network["key_channels"], network["value_channels"]
    if "fnb" in variant.fusion and network["options"]["share_key_value"] and keys != values:
        problems.append(
            f"{key}.value_channels must equal key_channels, {keys}, with share_key_value, got "
            f"{values}"
        )
    return problems


def _check_efficiency(efficiency: Efficiency) -> list[str]:
    problems = list(_check_pool_sizes("efficiency", efficiency.sampling, efficiency.pool_sizes))
    if efficiency.curve.fit > len(efficiency.curve.sizes):
        problems.append(
            f"efficiency.curve.fit must be 2 to {len(efficiency.curve.sizes)}, the number of "
            f"efficiency.curve.sizes, got {efficiency.curve.fit}"
        )
    return problems


def _check_evaluate(key: str, evaluate: Evaluate) -> list[str]:
    """Check the protocols against the keys that they need."""
    problems: list[str] = []
    protocols, window, stride = evaluate.protocols, evaluate.window, evaluate.stride
    for name in ("protocols", "scales"):
        problems += _check_once(f"{key}.{name}", getattr(evaluate, name) or [])
    for protocol, own in (("sliding", ("window", "stride")), ("multi_scale", ("scales", "flip"))):
        problems += [
            f"{key}.{name} is missing; the protocol {protocol} needs it"
            for name in own
            if protocol in protocols and getattr(evaluate, name) is None
        ]
    for name, users in (
        ("window", ("sliding", "multi_scale")),
        ("stride", ("sliding", "multi_scale")),
        ("scales", ("multi_scale",)),
        ("flip", ("multi_scale",)),
    ):
        value = getattr(evaluate, name)
        if value is not None and not set(users) & set(protocols):
            problems.append(
                f"{key}.{name} must be left out without the protocol {' or '.join(users)}, got "
                f"{list(value) if isinstance(value, tuple) else value}"
            )
    if evaluate.sides and evaluate.sides[0] > evaluate.sides[1]:
        problems.append(f"{key}.sides must have the shorter first, got {list(evaluate.sides)}")
    if (window is None) != (stride is None):
        problems.append(f"{key}.window and {key}.stride must both be set, or neither")
    elif window and stride and (stride[0] > window[0] or stride[1] > window[1]):
        problems.append(
            f"{key}.stride must be at most the window, {list(window)}, got {list(stride)}"
        )
    return problems


def _check_profile(key: str, profile: Profile) -> list[str]:
    problems = _check_evaluate(f"{key}.evaluate", profile.evaluate)
    train, network = profile.train, profile.network
    problems += [
        f"{key}.network.contexts must name files of contexts/, {', '.join(contexts.names())}, "
        f"got {name!r}"
        for name in network.contexts
        if name not in contexts.names()
    ]
    for name in ("scale", "aspect"):
        low, high = getattr(train.augment, name)
        if low > high:
            problems.append(f"{key}.train.augment.{name} must be [low, high], got [{low}, {high}]")
    if (train.optimizer.name == "sgd") != (train.optimizer.momentum is not None):
        problems.append(
            f"{key}.train.optimizer.momentum must be set for sgd and null for adamw, got "
            f"{train.optimizer.momentum}"
        )
    if train.warmup >= train.iterations:
        problems.append(
            f"{key}.train.warmup must be less than the iterations, {train.iterations}, got "
            f"{train.warmup}"
        )
    if network.align_corners and not train.loss.at_labels:
        problems.append(
            f"{key}.network.align_corners must be false without train.loss.at_labels, got True"
        )
    if network.backbone == "small" and (network.stem != "plain" or network.weights):
        problems.append(
            f"{key}.network must have the plain stem and no weights with the small backbone"
        )
    return [*problems, *check_frozen(key, profile)]
