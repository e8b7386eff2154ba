"""The model of the manifest of a frozen backbone's maps."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from pipeline.settings.records.base import Record, Sha256


class FeatureManifest(Record):
    """data/features/<profile>/manifest.json, written by the features stage."""

    remedy: ClassVar[str] = "run `dvc repro -f -s features` to write it again"

    cached: bool = Field(description="whether there are maps; if not, all else is null")
    dataset_digest: Sha256 | None = Field(description="sha256 of the data, as in manifest.json")
    backbone: Mapping[str, Any] | None = Field(description="settings of the backbone")
    backbone_sha256: Sha256 | None = Field(
        description="sha256 of the backbone's weights file; null for torchvision's"
    )
    digest: Sha256 | None = Field(description="sha256 over the maps of both splits")
    torch: str | None = Field(description="version of PyTorch that computed them")
