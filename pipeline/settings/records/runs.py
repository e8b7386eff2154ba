"""The models of what a run leaves in its folder: record.json, scores.json, failure.json."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from pipeline.settings.fields import Protocol, Strict
from pipeline.settings.records.base import Code, DataVersion, Environment, Record, Sha256
from pipeline.settings.schema import Checkpoint, Train

Stage = Literal["train", "evaluate"]

_NETWORK = (
    "resolved network settings: `profiles.<profile>.network` of params.yaml with what the variant "
    "changes, and its context's own settings"
)


class Config(Strict):
    """The resolved settings of a training."""

    network: Mapping[str, Any] = Field(description=_NETWORK)
    train: Train = Field(
        description="`profiles.<profile>.train` of params.yaml, with the precision resolved"
    )
    seed: int = Field(description="seed of weights, sample order and augmentation")

    @field_validator("network", mode="after")
    @classmethod
    def _complete_network(cls, network: Mapping[str, Any]) -> Mapping[str, Any]:
        """Set `recompute` to false in records written before the option existed."""
        return {**network, "options": {"recompute": False} | network["options"]}

    @field_validator("train", mode="before")
    @classmethod
    def _complete(cls, train: object) -> object:
        """Say that a run did not compile its network if it is from before there was a choice."""
        return {"compile": False} | train if isinstance(train, dict) else train


class TrainingCode(Code):
    """The code that trained a run."""

    digest: Sha256 = Field(description="sha256 of the code that shapes a training's numbers")


class RunEnvironment(Environment):
    """The machine that trained a run."""

    processes: int = Field(description="number of processes that trained together")


class Speed(Strict):
    """What the last start of a training took."""

    seconds: float = Field(description="wall-clock seconds of the loop, evaluation aside")
    iterations: int = Field(description="iterations in these seconds: fewer after a resumption")
    saving_seconds: float = Field(description="seconds of it that saving the state took")
    tracking_seconds: float = Field(description="seconds of it that MLflow took")
    peak_bytes: int = Field(
        description="bytes that the second step took beyond weights and inputs; 0 if not measured"
    )
    memory_by: str = Field(description="how the bytes were counted")


class RunStart(Record):
    """What is known of a run as soon as it starts; MLflow gets it while the run trains."""

    profile: str = Field(description="profile of params.yaml")
    variant: str = Field(description="variant of params.yaml")
    seed: int = Field(description="seed")
    fingerprint: str = Field(
        description="first 16 digits of the sha256 of settings, data, weights, code, device type, "
        "processes and PyTorch's version"
    )
    started: int = Field(description="start of the run, in seconds since 1970")
    dataset: DataVersion = Field(description="the data that it was trained on")
    backbone_sha256: Sha256 | None = Field(
        description="sha256 of the backbone's weights file; null without a file of one's own"
    )
    features: Sha256 | None = Field(
        default=None,  # results of earlier releases have no such key
        description="sha256 of the backbone's maps; null if the training computed them",
    )
    config: Config = Field(description="resolved settings")
    code: TrainingCode = Field(description="the code that trained it")
    environment: RunEnvironment = Field(description="machine and libraries")

    @property
    def run_name(self) -> str:
        """The run's name in the tables and in every MLflow store."""
        return f"{self.variant}-{self.seed}-{self.fingerprint[:8]}"


class RunRecord(RunStart):
    """runs/<profile>/<variant>-<seed>/record.json, written by the train stage."""

    remedy: ClassVar[str] = "run `dvc repro -f -s train@{folder}` to write it again"

    speed: Speed = Field(description="time and memory")
    weights_sha256: Sha256 = Field(description="sha256 of the trained weights' file")


class CheckpointRecord(Record):
    """runs/<profile>/<name>/record.json of a published checkpoint, by the imported stage."""

    remedy: ClassVar[str] = "run `dvc repro -f -s imported@{folder}` to write it again"

    profile: str = Field(description="profile of params.yaml")
    checkpoint: Checkpoint = Field(description="the entry of `checkpoints` in params.yaml")
    digest: Sha256 = Field(description="sha256 of the published file")
    weights_sha256: Sha256 = Field(description="sha256 of the converted weights' file")
    network: Mapping[str, Any] = Field(description="resolved network settings of the layout")
    code: Code = Field(description="the code that evaluated it")
    environment: Environment = Field(description="machine and libraries")


class ProtocolScores(Strict):
    """The scores by one protocol, each of one confusion matrix over the validation split."""

    miou: float = Field(description="mean IoU over the classes present, from 0 to 1")
    pixel_accuracy: float = Field(description="part of the labelled pixels that is right, 0 to 1")
    classes_present: int = Field(description="number of classes that the mean is over")
    class_iou: dict[str, float | None] = Field(
        description="IoU by class, from 0 to 1; null for a class that occurs nowhere"
    )
    category_iou: dict[str, float | None] | None = Field(
        description="IoU by Cityscapes category, from 0 to 1; null for other classes"
    )
    category_miou: float | None = Field(
        description="mean IoU over the categories, from 0 to 1; null for other classes"
    )
    miou_with_background: float | None = Field(
        description="mean IoU over classes and background, from 0 to 1; null for a dataset "
        "without background"
    )
    confusion: list[list[int]] = Field(
        description="number of pixels by true class (row) and predicted class (column); where "
        "there is background, it is the last of each"
    )


class Scores(Record):
    """scores.json, beside record.json, written by the stages evaluate and imported."""

    remedy: ClassVar[str] = (
        "run `dvc repro -f -s evaluate@{folder}`, or for a checkpoint `imported@{folder}`, to "
        "write it again"
    )

    images: int = Field(description="number of validation images")
    dataset_digest: Sha256 = Field(description="sha256 of the data, as in manifest.json")
    protocols: dict[Protocol, ProtocolScores] = Field(
        description="scores by protocol, in the order of params.yaml; the tables show the first"
    )

    @property
    def first(self) -> ProtocolScores:
        """The scores of the tables: by the first protocol of params.yaml."""
        return next(iter(self.protocols.values()))


class Failure(Record):
    """failure.json, in the folder of a run that failed; a run that succeeds removes it."""

    remedy: ClassVar[str] = "delete the file; the run writes it again if it fails again"

    variant: str = Field(description="variant of params.yaml")
    seed: int = Field(description="seed")
    stage: Stage = Field(description="the stage that failed")
    inputs: Mapping[str, Any] = Field(
        description="what it took from params.yaml; the failure counts only while that is the same"
    )
    reason: str = Field(description="why it failed, in a sentence")
    at: int | None = Field(description="iteration, from 1; null if it failed in none")
    fingerprint: str | None = Field(description="the run's fingerprint; null in evaluation")
