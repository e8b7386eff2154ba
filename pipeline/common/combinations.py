"""Values of params.yaml that are right one by one and impossible together."""

from typing import TYPE_CHECKING, Any

import contexts
from pipeline.common.cli import brief
from pipeline.common.contexts import PAPERS

if TYPE_CHECKING:
    from pipeline.common.params import Efficiency, Evaluate, Params, Profile, Variant


def problems(params: "Params") -> list[str]:
    """A sentence for each, naming the key, the value and what is allowed."""
    if params.profile not in params.profiles:
        return [f"profile is {params.profile!r}; allowed are {', '.join(params.profiles)}"]
    found = []
    for name, variant in params.variants.items():
        found += _variant_problems(f"variants.{name}", variant, params.network(name))
    for table, rows in params.tables.items():
        found += [
            f"tables.{table} lists {row!r}; allowed are {', '.join(params.variants)}"
            for row in rows
            if row not in params.variants
        ]
    if len(set(params.seeds)) < len(params.seeds):
        found.append(f"seeds is {brief(params.seeds)}; allowed is each seed once")
    for name, profile in params.profiles.items():
        found += _profile_problems(f"profiles.{name}", profile)
    found += _efficiency_problems(params.efficiency)
    if params.networks.profile not in params.profiles:
        found.append(
            f"networks.profile is {params.networks.profile!r}; allowed are "
            f"{', '.join(params.profiles)}"
        )
    return found


def _variant_problems(key: str, variant: "Variant", network: dict[str, Any]) -> list[str]:
    found = []
    asymmetric = variant.fusion == "afnb" or variant.context == "apnb"
    for name in ("sampling", "pool_sizes"):
        value = getattr(variant, name)
        if asymmetric and value is None:
            found.append(f"{key}.{name} is missing; afnb and apnb need it")
        if not asymmetric and value is not None:
            found.append(f"{key}.{name} is {value!r}; allowed only with afnb or apnb")
    allowed = (*PAPERS, *contexts.names())
    if variant.context not in allowed:
        found.append(f"{key}.context is {variant.context!r}; allowed are {', '.join(allowed)}")
    if variant.context in PAPERS and variant.settings is not None:
        found.append(f"{key}.settings is {variant.settings}; {', '.join(PAPERS)} take none")
    options = network["options"]
    if options["form"] == "fused" and options["normalization"] != "softmax":
        found.append(
            f"{key}.options.form is 'fused'; allowed with the normalization "
            f"{options['normalization']!r} are fast, plain"
        )
    if network["backbone"] == "small" and network["widths"] is None:
        found.append(f"{key}.widths is missing; the small backbone needs four")
    sizes = variant.pool_sizes or []
    if variant.sampling and not variant.sampling.startswith("pyramid_") and len(sizes) > 1:
        found.append(f"{key}.pool_sizes is {sizes}; {variant.sampling} sampling takes one size")
    keys, values = network["key_channels"], network["value_channels"]
    if "fnb" in variant.fusion and network["options"]["share_key_value"] and keys != values:
        found.append(
            f"{key}.value_channels is {values}; allowed with share_key_value is only "
            f"key_channels, {keys}"
        )
    return found


def _efficiency_problems(efficiency: "Efficiency") -> list[str]:
    found = []
    pools = efficiency.pool_sizes
    if not efficiency.sampling.startswith("pyramid_") and len(pools) > 1:
        found.append(
            f"efficiency.pool_sizes is {pools}; {efficiency.sampling} sampling takes one size"
        )
    if efficiency.curve.fit > len(efficiency.curve.sizes):
        found.append(
            f"efficiency.curve.fit is {efficiency.curve.fit}; allowed are 2 to "
            f"{len(efficiency.curve.sizes)}, the number of efficiency.curve.sizes"
        )
    return found


def _evaluate_problems(key: str, evaluate: "Evaluate") -> list[str]:
    """The protocols against the keys that they need."""
    found = []
    protocols, window, stride = evaluate.protocols, evaluate.window, evaluate.stride
    for name in ("protocols", "scales"):
        values = getattr(evaluate, name) or []
        if len(set(values)) < len(values):
            found.append(f"{key}.{name} is {values}; allowed is each once")
    for protocol, own in (("sliding", ("window", "stride")), ("multi_scale", ("scales", "flip"))):
        found += [
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
            found.append(
                f"{key}.{name} is {value!r}; allowed only with the protocol {' or '.join(users)}"
            )
    if evaluate.sides and evaluate.sides[0] > evaluate.sides[1]:
        found.append(f"{key}.sides is {list(evaluate.sides)}; allowed is the shorter first")
    if (window is None) != (stride is None):
        found.append(f"{key}.stride is {stride}; window and stride belong together")
    elif window and stride and (stride[0] > window[0] or stride[1] > window[1]):
        found.append(
            f"{key}.stride is {list(stride)}; allowed are steps up to the window's, {list(window)}"
        )
    return found


def _profile_problems(key: str, profile: "Profile") -> list[str]:
    found = _evaluate_problems(f"{key}.evaluate", profile.evaluate)
    train, network = profile.train, profile.network
    found += [
        f"{key}.network.contexts.{name} is no file of contexts/; allowed are "
        f"{', '.join(contexts.names())}"
        for name in network.contexts
        if name not in contexts.names()
    ]
    for name in ("scale", "aspect"):
        low, high = getattr(train.augment, name)
        if low > high:
            found.append(f"{key}.train.augment.{name} is [{low}, {high}]; allowed is low first")
    if (train.optimizer.name == "sgd") != (train.optimizer.momentum is not None):
        found.append(
            f"{key}.train.optimizer.momentum is {train.optimizer.momentum}; sgd needs it and "
            f"adamw has none"
        )
    if train.warmup >= train.iterations:
        found.append(
            f"{key}.train.warmup is {train.warmup}; allowed is less than the iterations, "
            f"{train.iterations}"
        )
    if network.align_corners and not train.loss.at_labels:
        found.append(
            f"{key}.network.align_corners is True; allowed without train.loss.at_labels is false"
        )
    if network.backbone == "small" and (network.stem != "plain" or network.weights):
        found.append(f"{key}.network.backbone is 'small'; it has the plain stem and no weights")
    return found
