"""Tell whether the maps on the disk are of these images and of this backbone."""

from collections.abc import Mapping
from typing import Any

from pipeline.data.features.store import Features
from pipeline.engine.errors import InputError
from pipeline.engine.weight_files import digest_weights
from pipeline.settings import records
from pipeline.settings.fields import BACKBONE_SETTINGS
from pipeline.settings.paths import MANIFEST, locate_features
from pipeline.settings.records import FeatureManifest, Manifest

# The settings of a network that shape its maps.
SETTINGS = (*BACKBONE_SETTINGS, "weights", "pixels")


def select_settings(network: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a network that shape its backbone's maps."""
    return {name: network[name] for name in SETTINGS}


def open_features(
    profile: str, split: str, network: Mapping[str, Any], manifest: Manifest
) -> tuple[Features, str]:
    """Open the maps of a split.

    Args:
        profile: The profile.
        split: train or val.
        network: The settings of the network that shall read them.
        manifest: What describes the prepared data.

    Returns:
        The maps, and the digest of both splits.

    Raises:
        InputError: There are none, or they are of other images or of another backbone.
    """
    folder = locate_features(profile)
    remedy = "run `dvc repro features` to compute them again"
    if not (folder / MANIFEST).exists():
        raise InputError(f"{folder / MANIFEST} is missing; {remedy}")
    about = records.read(FeatureManifest, folder / MANIFEST)
    digest = digest_weights(network["backbone"], network["weights"])
    for what, actual, expected in (
        ("the images", about.dataset_digest, manifest.digest),
        ("the backbone's settings", about.backbone, select_settings(network)),
        ("the backbone's weights", about.backbone_sha256, digest),
    ):
        if actual != expected:
            raise InputError(f"{folder}: {what} are no longer those of its maps; {remedy}")
    assert about.digest is not None
    return Features(folder, split), about.digest
