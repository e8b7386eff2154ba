"""The schema of params.yaml: the type and the range of every value that changes a number.

There are no default values here, so the file has every value that a run used.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipeline.settings.costs import Efficiency, Networks, Plan
from pipeline.settings.fields import (
    TIMM,
    Backbone,
    Count,
    DatasetName,
    Dropout,
    Fraction,
    Fusion,
    Layout,
    Levels,
    Name,
    NetworkSettings,
    NotNegative,
    OwnSettings,
    Pixels,
    Positive,
    Precision,
    Protocol,
    Range,
    Sampling,
    Scale,
    Seed,
    Seeds,
    Size,
    Stem,
    Strict,
    TableName,
)
from pipeline.settings.options import Options, OwnOptions
from pipeline.settings.paths import EMBEDDED

SCENE_TITLE = "drawn scenes in Cityscapes' layout"
PAPER_CONTEXTS = ("none", "nb", "apnb")  # the contexts that are in `ann`


class Network(Strict):
    """The network settings that the variants of a profile share.

    Attributes:
        levels: The modules that make Stage4 and Stage5, of a backbone of timm only.
        weights: The backbone's at the start: imagenet, a package's (see
            pipeline.engine.weight_files) or a file; None for random ones.
        freeze: Whether the backbone stays as its weights make it.
        contexts: The settings of files of contexts/, by their names.
    """

    backbone: Backbone
    stem: Stem
    ceil_mode: bool
    output_stride: Literal[8, 16, 32]
    widths: Annotated[list[Count], Field(min_length=4, max_length=4)] | None
    levels: Levels | None
    weights: str | None
    freeze: bool
    channels: Count
    key_channels: Count
    value_channels: Count
    aux_channels: Count
    pixels: Pixels
    align_corners: bool
    dropout: Dropout
    options: Options
    contexts: dict[Name, OwnSettings]


class Variant(Strict):
    """A row of a table: fusion, context, and its changes to the profile's network."""

    fusion: Fusion
    context: str
    settings: OwnSettings | None = None
    sampling: Sampling | None = None
    pool_sizes: Annotated[list[Count], Field(min_length=1)] | None = None
    backbone: Backbone | None = None
    widths: Annotated[list[Count], Field(min_length=4, max_length=4)] | None = None
    levels: Levels | None = None
    pixels: Pixels | None = None
    channels: Count | None = None
    key_channels: Count | None = None
    value_channels: Count | None = None
    dropout: Dropout | None = None
    options: OwnOptions | None = None


class Optimizer(Strict):
    """The optimizer of a training; only sgd has a momentum.

    Attributes:
        backbone_lr: The backbone's learning rate as a part of `lr`; None if it is the same, and
            where the backbone is frozen.
    """

    name: Literal["sgd", "adamw"]
    lr: Positive
    backbone_lr: Positive | None = None
    weight_decay: NotNegative
    momentum: Fraction | None = None


class Ohem(Strict):
    """Online hard example mining over pixels (see ann.loss)."""

    threshold: Fraction
    min_kept: Count


class ClassWeights(Strict):
    """Weights (1 / (frequency + 1e-3)) ** power by the training split's histogram."""

    power: Positive


class Loss(Strict):
    """The loss of a training, at the labels' resolution or the network's."""

    aux_weight: NotNegative
    class_weights: ClassWeights | list[Positive] | None
    ohem: Ohem | None
    at_labels: bool


class Distortion(Strict):
    """The photometric distortion of mmsegmentation; the hue is in degrees."""

    brightness: Annotated[float, Field(ge=0, le=255)]
    contrast: Range
    saturation: Range
    hue: Annotated[float, Field(ge=0, le=180)]


class Augment(Strict):
    """The random changes to a training sample.

    Attributes:
        min_side: The shorter side is resized to this before `scale`.
        max_class_share: A crop is drawn again if one class has a larger share of its labelled
            pixels.
    """

    min_side: Count | None
    scale: Range
    aspect: Range
    crop: Size
    max_class_share: Annotated[float, Field(gt=0, lt=1)] | None
    hflip: Fraction
    brightness: Annotated[int, Field(ge=0, le=255)]
    distortion: Distortion | None


class Train(Strict):
    """How networks are trained.

    Attributes:
        compile: Whether torch.compile turns the network into kernels of its own.
    """

    iterations: Count
    batch_size: Annotated[int, Field(ge=2)]
    micro_batch: Count | None
    warmup: Annotated[int, Field(ge=0)]
    power: Positive
    precision: Precision
    deterministic: bool
    compile: bool
    threads: Count
    optimizer: Optimizer
    loss: Loss
    augment: Augment

    @property
    def largest_part(self) -> int:
        """The most samples that pass through the network at once in a single process."""
        return min(self.batch_size, self.micro_batch or self.batch_size)


class Evaluate(Strict):
    """How networks are scored; the tables show the first protocol (see pipeline.scoring).

    Attributes:
        sides: The shorter side of an image is first resized to the first value, unless the longer
            one would exceed the second.
    """

    batch_size: Count
    precision: Precision
    threads: Count
    protocols: Annotated[list[Protocol], Field(min_length=1)]
    sides: Annotated[tuple[Count, Count], Field(strict=False)] | None = None
    window: Size | None = None
    stride: Size | None = None
    scales: Annotated[list[Scale], Field(min_length=1)] | None = None
    flip: bool | None = None


class Prepare(Strict):
    """How the dataset is prepared.

    Attributes:
        decode: Whether it is decoded to the disk once, or only checked and decoded when read.
    """

    decode: bool


class Features(Strict):
    """The maps of a frozen backbone.

    Attributes:
        cache: Whether they are computed once, to the disk, and trainings read them.
        threads: Of their computation.
    """

    cache: bool
    threads: Count


class Profile(Strict):
    """An experiment: its data, its rows, and how networks are built, trained and scored.

    Attributes:
        data: A key of Params.data, which has the folder.
        rows: The variants to train; None for all in these tables.
        more_seeds: More seeds, for whoever asks for them.
        show_images: Whether the reports show the dataset's images.
    """

    data: Name
    dataset: DatasetName
    tables: Annotated[list[TableName], Field(min_length=1)]
    rows: Annotated[list[Name], Field(min_length=1)] | None
    seeds: Seeds
    more_seeds: list[Seed]
    show_images: bool
    prepare: Prepare
    features: Features
    network: Network
    train: Train
    evaluate: Evaluate


class Scene(Strict):
    """The embedded dataset that the scene stage draws."""

    train: Count
    val: Count
    height: Annotated[int, Field(ge=64)]
    width: Annotated[int, Field(ge=128)]
    seed: Seed


class Checkpoint(Strict):
    """A network that others trained: its file, and the project whose layout it has."""

    file: str
    layout: Layout


class Params(Strict):
    """All of params.yaml.

    Attributes:
        rows: The variants that are trained.
        data: The folders of the datasets on this machine; None for one that is not here.
    """

    profile: Name
    dataset_dir: str
    seeds: Seeds
    rows: Annotated[list[Name], Field(min_length=1)]
    data: dict[Name, str | None]
    variants: Annotated[dict[Name, Variant], Field(min_length=1)]
    tables: dict[TableName, Annotated[list[Name], Field(min_length=1)]]
    checkpoints: dict[Name, Checkpoint]
    scene: Scene
    efficiency: Efficiency
    networks: Networks
    plan: Plan
    profiles: dict[Name, Profile]

    @property
    def active(self) -> Profile:
        """The profile that `profile` names."""
        return self.profiles[self.profile]

    @property
    def data_title(self) -> str:
        """The name of the data; the drawn scenes only have the layout of Cityscapes."""
        return SCENE_TITLE if self.embedded else self.active.dataset

    @property
    def embedded(self) -> bool:
        """Whether the data are the scenes that the scene stage draws."""
        return Path(self.dataset_dir) == EMBEDDED

    @property
    def shown_tables(self) -> dict[TableName, list[str]]:
        """The tables of the active profile's page, with all their rows."""
        return {t: rows for t, rows in self.tables.items() if t in self.active.tables}

    def list_rows(self, profile: str) -> list[str]:
        """Return the variants that a profile trains, in the order of `variants`."""
        own = self.profiles[profile]
        rows = own.rows or [row for table in own.tables for row in self.tables.get(table, [])]
        return [name for name in self.variants if name in rows]

    def view(self, profile: str) -> "Params":
        """Return these settings with another profile as the active one.

        Its dataset_dir is empty if its data are not here.
        """
        if profile == self.profile:
            return self
        own = self.profiles[profile]
        active = {
            "profile": profile,
            "dataset_dir": self.data.get(own.data) or "",
            "seeds": own.seeds,
            "rows": self.list_rows(profile),
        }
        return self.model_copy(update=active)

    def resolve_network(self, variant: str, profile: str | None = None) -> NetworkSettings:
        """Return the network settings of a variant in a profile, with the variant's changes.

        Args:
            variant: The variant's name.
            profile: The profile's name; without one, the active profile.
        """
        own = self.variants[variant].model_dump(exclude_none=True)
        network = self.profiles[profile or self.profile].network.model_dump()
        options = network["options"] | own.pop("options", {})
        settings = network.pop("contexts").get(own["context"], {}) | own.pop("settings", {})
        network = network | own | {"options": options}
        if own["context"] not in PAPER_CONTEXTS:
            network["settings"] = settings
        if network["backbone"] != "small":
            network["widths"] = None
        if not network["backbone"].startswith(TIMM):
            network["levels"] = None
        return network
