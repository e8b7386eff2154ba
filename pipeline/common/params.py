"""params.yaml and its schema: every value that changes a number, checked before any work.

There are no default values here: what a run used is what the file says.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from pipeline.common import contexts, yaml_file
from pipeline.common.cli import InputError, sentence
from pipeline.common.combinations import problems
from pipeline.common.files import read_json

PARAMS_FILE = Path("params.yaml")
EMBEDDED = Path("data/embedded")  # what the scene stage makes
DRAWN = "drawn scenes in Cityscapes' layout"
SETTINGS = Path("data/settings")  # a file for each of `by_stage`

Count = Annotated[int, Field(ge=1, le=10**9)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Scale = Annotated[float, Field(ge=0.01, le=100)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]
Size = Annotated[tuple[Count, Count], Field(strict=False)]  # height, width
Range = Annotated[tuple[Scale, Scale], Field(strict=False)]  # YAML has lists, not tuples
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]  # of files, too
Backbone = Literal["small", "resnet18", "resnet34", "resnet50", "resnet101"]
Fusion = Literal["none", "common", "fnb", "afnb"]
Stem = Literal["plain", "deep", "deep64"]
Pixels = Literal["imagenet", "caffe"]
Layout = Literal["authors", "mmseg"]
Protocol = Literal["whole", "sliding", "multi_scale"]
TableName = Literal["ablation", "sampling", "beyond"]
_Plain = bool | int | float | str
OwnSettings = dict[Name, _Plain | list[_Plain]]  # of a file of contexts/, which says their types
Sampling = Literal["random", "max", "average", "pyramid_random", "pyramid_max", "pyramid_average"]
DatasetName = Literal["cityscapes", "camvid", "ade20k", "pascal_context"]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Choices(Strict):
    """ann.BlockOptions but for the form; the meaning of each is told there."""

    normalization: Literal["softmax", "rescaling", "none"]
    output: Literal["concat", "residual"]
    share_query_key: bool
    share_key_value: bool
    embedding_norm: bool
    scale: bool
    zero_init: bool
    bias: bool


class Options(Choices):
    form: Literal["fast", "plain", "fused"]


# The options in which a variant differs from its profile: any of them.
_OWN: Any = {name: (field.annotation, None) for name, field in Options.model_fields.items()}
OwnOptions: Any = create_model("OwnOptions", __base__=Strict, **_OWN)


class Network(Strict):
    """What the variants of a profile have in common; contexts: settings of the files there."""

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
    """A row of a table: fusion and context, and what differs from the profile's network."""

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
    name: Literal["sgd", "adamw"]
    lr: Positive
    weight_decay: NotNegative
    momentum: Fraction | None = None


class Ohem(Strict):
    threshold: Fraction
    min_kept: Count


class ClassWeights(Strict):
    """Weights (1 / (frequency + 1e-3)) ** power from the training split's own histogram."""

    power: Positive


class Loss(Strict):
    aux_weight: NotNegative
    class_weights: ClassWeights | list[Positive] | None
    ohem: Ohem | None
    at_labels: bool


class Distortion(Strict):
    """mmsegmentation's photometric distortion; hue in degrees."""

    brightness: Annotated[float, Field(ge=0, le=255)]
    contrast: Range
    saturation: Range
    hue: Annotated[float, Field(ge=0, le=180)]


class Augment(Strict):
    """How a training sample differs from its file.

    min_side: what the shorter side is resized to before `scale`. max_class_share: of a crop's
    labelled pixels, the most that may be of one class; else the crop is drawn again.
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
    def at_a_time(self) -> int:
        """The most samples that one process alone takes through the network at once."""
        return min(self.batch_size, self.micro_batch or self.batch_size)


class Evaluate(Strict):
    """How networks are scored; the tables show the first protocol (see pipeline.scoring).

    sides: what the shorter side of an image is resized to before all else, and the most that the
    longer one may have then.
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
    """Whether the dataset is decoded to the disk once, or checked once and decoded when read."""

    decode: bool


class Profile(Strict):
    dataset: DatasetName
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
    """Someone else's trained network: its file, and whose names its tensors have."""

    file: str
    layout: Layout


class Mode(Strict):
    """A device and a number type that blocks are measured with; absent devices are left out."""

    device: Literal["cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]
    channels_last: bool


class Curve(Strict):
    """Cost against the number of positions; the exponent is fitted over the last `fit` sizes."""

    channels: Count
    embedded_channels: Count
    sizes: Annotated[list[Size], Field(min_length=2)]
    fit: Annotated[int, Field(ge=2)]


class Efficiency(Strict):
    """The blocks that the efficiency stage measures, and how; batch 1."""

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
    """The whole networks whose cost is counted, and measured if one call is within the limit."""

    profile: Name
    sizes: list[Size]
    repeats: Count
    seconds: Positive
    limit: Positive


class Tflops(Strict):
    """What a device can do at most, 10^12 operations a second, two a multiply-add."""

    bfloat16: Positive
    float32: Positive


class Plan(Strict):
    """The device that trainings are predicted for: assumptions, not measurements."""

    device: str
    tflops: Tflops
    utilisation: Annotated[float, Field(gt=0, le=1)]


class Params(Strict):
    profile: Name
    dataset_dir: str
    seeds: Annotated[list[Seed], Field(min_length=1)]
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
        return self.profiles[self.profile]

    @property
    def data_title(self) -> str:
        """What the data are, in words: drawn scenes are not the dataset whose layout they have."""
        return DRAWN if self.embedded else self.active.dataset

    @property
    def embedded(self) -> bool:
        """Whether the data are the scenes that the scene stage draws."""
        return Path(self.dataset_dir) == EMBEDDED

    def network(self, variant: str, profile: str | None = None) -> dict[str, Any]:
        """The network of a profile, the active one if none is named, with what the variant says."""
        own = self.variants[variant].model_dump(exclude_none=True)
        network = self.profiles[profile or self.profile].network.model_dump()
        options = network["options"] | own.pop("options", {})
        settings = network.pop("contexts").get(own["context"], {}) | own.pop("settings", {})
        network = network | own | {"options": options}
        if own["context"] not in contexts.PAPERS:
            network["settings"] = settings
        if network["backbone"] != "small":
            network["widths"] = None
        return network


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check params.yaml."""
    try:
        raw = yaml_file.read(path)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; run from the repository's root") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    except InputError:
        raise
    except Exception as error:  # the parser lets through what a tag, a date or a depth leads to
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where else ""
        raise InputError(f"{path} is not valid YAML{line}") from None
    return checked(raw, path)


def checked(raw: Any, path: Path = PARAMS_FILE) -> Params:
    """The settings that `path` holds; an InputError names the first key that is wrong."""
    if not isinstance(raw, dict):
        raise InputError(f"{path} holds {type(raw).__name__}; allowed is a mapping of settings")
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{path}: {sentence(error)}") from None
    for problem in problems(params):
        raise InputError(f"{path}: {problem}")
    return params


def by_stage(params: Params) -> dict[str, Any]:
    """The values that all runs of a stage have in common, as the check stage writes them."""
    profile = params.active.model_dump(mode="json", exclude={"network": {"contexts"}})
    return {
        "train": {"network": profile["network"], "train": profile["train"]},
        "evaluate": profile["evaluate"],
    }


def require_checked(params: Params, stage: str) -> None:
    """Refuse values of `by_stage` that the check stage has not seen: DVC knows only what it saw."""
    file = SETTINGS / f"{stage}.json"
    if not file.exists() or read_json(file) != by_stage(params)[stage]:
        raise InputError(f"{PARAMS_FILE} and {file} differ; run `dvc repro check` first")


def load_run(stage: str, words: list[str]) -> tuple[Params, str, int]:
    """The settings, variant and seed of `python -m pipeline.STAGE VARIANT SEED`, all checked."""
    params = load()
    if len(words) != 2:
        raise InputError(f"usage: python -m pipeline.{stage} VARIANT SEED")
    variant, seed = variant_and_seed(params, *words)
    require_checked(params, stage)
    contexts.require_checked(params, variant)
    return params, variant, seed


def variant_and_seed(params: Params, variant: str, seed: str) -> tuple[str, int]:
    """The two words of a train or evaluate command, checked."""
    if variant not in params.variants:
        raise InputError(f"variant is {variant!r}; allowed are {', '.join(params.variants)}")
    if not seed.isdecimal() or int(seed) not in params.seeds:
        allowed = ", ".join(map(str, params.seeds))
        raise InputError(f"seed is {seed!r}; allowed are {allowed}")
    return variant, int(seed)


def listed_checkpoint(params: Params, name: str) -> Checkpoint:
    """One of `checkpoints`; an InputError names those there are."""
    if name not in params.checkpoints:
        allowed = ", ".join(params.checkpoints) or "none, for params.yaml lists no checkpoints"
        raise InputError(f"checkpoint is {name!r}; allowed are {allowed}")
    return params.checkpoints[name]
