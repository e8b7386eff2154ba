"""Check the backbone's values of params.yaml that are valid alone but not together."""

from collections.abc import Iterator

from pipeline.settings.fields import TIMM, NetworkSettings
from pipeline.settings.schema import Params, Profile

_ALLOWED = "allowed with features.cache is {}, because the maps are computed before"


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
        yield f"{key}.backbone is {network['backbone']!r}; it has the plain stem and no ceil_mode"
    if of_timm != (network["pixels"] == "timm"):
        allowed = "timm" if of_timm else "imagenet, caffe"
        yield (
            f"{key}.pixels is {network['pixels']!r}; allowed with the backbone "
            f"{network['backbone']} is {allowed}"
        )


def check_frozen(key: str, profile: Profile) -> Iterator[str]:
    """Check what a frozen backbone needs."""
    network, optimizer = profile.network, profile.train.optimizer
    if network.freeze and network.weights is None:
        yield f"{key}.network.weights is null; a frozen backbone needs weights"
    if network.freeze and optimizer.backbone_lr is not None:
        yield (
            f"{key}.train.optimizer.backbone_lr is {optimizer.backbone_lr}; a frozen backbone has "
            f"none"
        )
    if profile.features.cache and not network.freeze:
        yield f"{key}.features.cache is True; allowed without network.freeze is false"


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
            yield f"{key}.train.augment.{name} is {shown}; {_ALLOWED.format(allowed)}"
    if any(side % stride for side in augment.crop):
        yield (
            f"{key}.train.augment.crop is {list(augment.crop)}; "
            f"{_ALLOWED.format(f'multiples of the output stride, {stride}')}"
        )
    if profile.evaluate.sides is not None:
        shown = list(profile.evaluate.sides)
        yield f"{key}.evaluate.sides is {shown}; {_ALLOWED.format('null')}"
    for row in params.rows if key == f"profiles.{params.profile}" else []:
        variant = params.variants.get(row)
        for name in ("backbone", "widths", "levels", "pixels"):
            if variant and getattr(variant, name) is not None:
                yield (
                    f"variants.{row}.{name} is {getattr(variant, name)!r}; "
                    f"{_ALLOWED.format(f'the one of {key}')}"
                )
