"""The schema of params.yaml: the type and the range of every value that changes a number.

There are no default values here, so the file has every value that a run used.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from pipeline.settings.paths import EMBEDDED

SCENE_TITLE = "drawn scenes in Cityscapes' layout"
PAPER_CONTEXTS = ("none", "nb", "apnb")  # the contexts that are in `ann`

Count = Annotated[int, Field(ge=1, le=10**9)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Seeds = Annotated[list[Seed], Field(min_length=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Scale = Annotated[float, Field(ge=0.01, le=100)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]
Size = Annotated[tuple[Count, Count], Field(strict=False)]  # height, width
Range = Annotated[tuple[Scale, Scale], Field(strict=False)]  # YAML has lists, not tuples
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]  # of files too
Backbone = Literal["small", "resnet18", "resnet34", "resnet50", "resnet101"]
Fusion = Literal["none", "common", "fnb", "afnb"]
Stem = Literal["plain", "deep", "deep64"]
Pixels = Literal["imagenet", "caffe"]
Layout = Literal["authors", "mmseg"]
Protocol = Literal["whole", "sliding", "multi_scale"]
TableName = Literal["ablation", "sampling", "beyond"]
_Scalar = bool | int | float | str
NetworkSettings = dict[str, Any]  # as `Params.resolve_network` returns them
OwnSettings = dict[Name, _Scalar | list[_Scalar]]  # of a file of contexts/, which has their types
Sampling = Literal["random", "max", "average", "pyramid_random", "pyramid_max", "pyramid_average"]
DatasetName = Literal["cityscapes", "camvid", "ade20k", "pascal_context"]


class Strict(BaseModel):
    """A part of params.yaml: no other keys, no conversion of types, no infinite numbers."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Choices(Strict):
    """The options of ann.BlockOptions, which explains them, except the form."""

    normalization: Literal["softmax", "rescaling", "none"]
    output: Literal["concat", "residual"]
    share_query_key: bool
    share_key_value: bool
    embedding_norm: bool
    scale: bool
    zero_init: bool
    bias: bool


class Options(Choices):
    """All options of ann.BlockOptions."""

    form: Literal["fast", "plain", "fused"]


# A variant may change any option of its profile.
_OPTION_FIELDS: Any = {
    name: (field.annotation, None) for name, field in Options.model_fields.items()
}
OwnOptions: Any = create_model("OwnOptions", __base__=Strict, **_OPTION_FIELDS)


class Network(Strict):
    """The network settings that the variants of a profile share.

    Attributes:
        contexts: The settings of files of contexts/, by their names.
    """

    backbone: Backbone
    stem: Stem
    ceil_mode: bool
    output_stride: Literal[8, 16, 32]
    widths: Annotated[list[Count], Field(min_length=4, max_length=4)] | None
    weights: str | None
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
    channels: Count | None = None
    key_channels: Count | None = None
    value_channels: Count | None = None
    dropout: Dropout | None = None
    options: OwnOptions | None = None


class Optimizer(Strict):
    """The optimizer of a training; only sgd has a momentum."""

    name: Literal["sgd", "adamw"]
    lr: Positive
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
    """How networks are trained."""

    iterations: Count
    batch_size: Annotated[int, Field(ge=2)]
    micro_batch: Count | None
    warmup: Annotated[int, Field(ge=0)]
    power: Positive
    precision: Literal["auto", "float32", "bfloat16"]
    deterministic: bool
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


class Profile(Strict):
    """An experiment: its data, its rows, and how networks are built, trained and scored.

    Attributes:
        data: A key of Params.data, which has the folder.
        rows: The variants to train; None for all in these tables.
        more_seeds: More seeds, for whoever asks for them.
    """

    data: Name
    dataset: DatasetName
    tables: Annotated[list[TableName], Field(min_length=1)]
    rows: Annotated[list[Name], Field(min_length=1)] | None
    seeds: Seeds
    more_seeds: list[Seed]
    prepare: Prepare
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


class Mode(Strict):
    """A device and a number type to measure blocks with; absent devices are left out."""

    device: Literal["cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]
    channels_last: bool


class Curve(Strict):
    """The cost for several numbers of positions; the exponent is fitted to the last `fit` sizes."""

    channels: Count
    embedded_channels: Count
    sizes: Annotated[list[Size], Field(min_length=2)]
    fit: Annotated[int, Field(ge=2)]


class Efficiency(Strict):
    """The blocks that the efficiency stage measures with a batch of 1, and how."""

    channels: Count
    low_channels: Count
    embedded_channels: Count
    sampling: Sampling
    pool_sizes: Annotated[list[Count], Field(min_length=1)]
    options: Choices
    sizes: Annotated[list[Size], Field(min_length=1)]
    curve: Curve
    modes: Annotated[list[Mode], Field(min_length=1)]
    threads: Count
    repeats: Count
    seconds: Positive
    limit: Positive


class Networks(Strict):
    """The whole networks to count, and to measure if one call is within the limit."""

    profile: Name
    sizes: list[Size]
    repeats: Count
    seconds: Positive
    limit: Positive


class Tflops(Strict):
    """The peak of a device in 10^12 operations a second, two for a multiply-add."""

    bfloat16: Positive
    float32: Positive


class Plan(Strict):
    """The device that the plan assumes; none of this is measured."""

    device: str
    tflops: Tflops
    utilisation: Annotated[float, Field(gt=0, le=1)]


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
        return network
