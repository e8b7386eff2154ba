"""Check the backbone's values of params.yaml that are valid alone but not together."""

from collections.abc import Iterator

from pipeline.settings.fields import TIMM, NetworkSettings
from pipeline.settings.schema import Params, Profile

_FIXED = "must be {} with features.cache, because the maps are computed in advance, got {}"


def check_backbone(key: str, network: NetworkSettings) -> Iterator[str]:
    """Check the settings of a variant's backbone.

    Args:
        key: The variant's key.
        network: Its settings, as `Params.resolve_network` returns them.
    """
    if network["backbone"] == "small" and network["widths"] is None:
        yield f"{key}.widths is missing; the small backbone needs four"
    of_timm = network["backbone"].startswith(TIMM)
    if of_timm and network["levels"] is None:
        yield f"{key}.levels is missing; {network['backbone']} needs two modules"
    if of_timm and (network["stem"] != "plain" or network["ceil_mode"]):
        yield f"{key} must have the plain stem and no ceil_mode with {network['backbone']}"
    if of_timm != (network["pixels"] == "timm"):
        allowed = "timm" if of_timm else "imagenet or caffe"
        yield (
            f"{key}.pixels must be {allowed} with the backbone {network['backbone']}, got "
            f"{network['pixels']!r}"
        )


def check_frozen(key: str, profile: Profile) -> Iterator[str]:
    """Check what a frozen backbone needs."""
    network, optimizer = profile.network, profile.train.optimizer
    if network.freeze and network.weights is None:
        yield f"{key}.network.weights must be set for a frozen backbone, got null"
    if network.freeze and optimizer.backbone_lr is not None:
        yield (
            f"{key}.train.optimizer.backbone_lr must be null for a frozen backbone, got "
            f"{optimizer.backbone_lr}"
        )
    if profile.features.cache and not network.freeze:
        yield f"{key}.features.cache must be false without network.freeze, got True"


def check_cached(key: str, profile: Profile, params: Params) -> Iterator[str]:
    """Check what maps that are computed before the trainings allow."""
    if not profile.features.cache:
        return
    augment, stride = profile.train.augment, profile.network.output_stride
    for name, neutral, allowed in (
        ("min_side", None, "null"),
        ("scale", (1.0, 1.0), "[1.0, 1.0]"),
        ("aspect", (1.0, 1.0), "[1.0, 1.0]"),
        ("max_class_share", None, "null"),
        ("brightness", 0, "0"),
        ("distortion", None, "null"),
    ):
        value = getattr(augment, name)
        if value != neutral:
            shown = list(value) if isinstance(value, tuple) else value
            yield f"{key}.train.augment.{name} {_FIXED.format(allowed, shown)}"
    if any(side % stride for side in augment.crop):
        yield (
            f"{key}.train.augment.crop "
            f"{_FIXED.format(f'multiples of the output stride, {stride},', list(augment.crop))}"
        )
    if profile.evaluate.sides is not None:
        shown = list(profile.evaluate.sides)
        yield f"{key}.evaluate.sides {_FIXED.format('null', shown)}"
    for row in params.rows if key == f"profiles.{params.profile}" else []:
        variant = params.variants.get(row)
        for name in ("backbone", "widths", "levels", "pixels"):
            if variant and getattr(variant, name) is not None:
                yield (
                    f"variants.{row}.{name} "
                    f"{_FIXED.format(f'the one of {key}', repr(getattr(variant, name)))}"
                )
