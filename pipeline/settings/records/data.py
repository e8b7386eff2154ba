"""The model of manifest.json: what the prepare stage found in a dataset."""

from typing import ClassVar

from pydantic import Field

from pipeline.settings.fields import Strict
from pipeline.settings.records.base import Record, Sha256


class Split(Strict):
    """A split of the dataset."""

    count: int = Field(description="number of images")
    published: int = Field(description="number of images that the publisher names")
    digest: Sha256 = Field(description="sha256 over the split's samples")
    pixels: dict[str, int] = Field(description="number of pixels by class, in the order of ids")
    background_pixels: int = Field(description="number of pixels labelled as none of the classes")
    ignored_pixels: int = Field(description="number of pixels without a label")


class Splits(Strict):
    """Both splits."""

    train: Split = Field(description="the training split")
    val: Split = Field(description="the validation split")


class Manifest(Record):
    """data/prepared/<profile>/manifest.json, written by the prepare stage."""

    remedy: ClassVar[str] = "run `dvc repro -f -s prepare` to write it again"

    dataset: str = Field(description="name of the dataset, as in params.yaml")
    title: str = Field(description="what the data are, in words")
    classes: list[str] = Field(description="names of the classes, in the order of ids")
    background: bool = Field(description="whether pixels of no class are scored, too")
    digest: Sha256 = Field(description="sha256 over both splits")
    splits: Splits = Field(description="counts and histograms by split")
