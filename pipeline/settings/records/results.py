"""The models of a line of reports/results/<experiment>.jsonl: a run, a checkpoint, and so on."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, TypeAdapter

from pipeline.engine.files import whole_file
from pipeline.settings.records.base import Code, Environment, Record, Sha256, parse_checked
from pipeline.settings.records.runs import (
    CheckpointRecord,
    ProtocolScores,
    RunRecord,
    Scores,
    Stage,
)


class ResultLine(Record):
    """A line of reports/results/<experiment>.jsonl, written by the collect stage."""

    remedy: ClassVar[str] = "run `dvc repro -f -s collect` to write it again"


Identity = tuple[str, str, int | None]  # kind, name, seed


class RunLine(ResultLine):
    """A run that is trained and scored."""

    kind: Literal["run"] = Field(description="says what the line is")
    variant: str = Field(description="variant of params.yaml")
    seed: int = Field(description="seed")
    scores: Scores = Field(description="the run's scores.json")
    record: RunRecord = Field(description="the run's record.json")

    @property
    def identity(self) -> Identity:
        """What no other line of the experiment has."""
        return self.kind, self.variant, self.seed

    @property
    def miou(self) -> float:
        """Return the mean IoU in percent, by the first protocol."""
        return 100 * self.scores.first.miou


class CheckpointLine(ResultLine):
    """A published checkpoint that is scored."""

    kind: Literal["checkpoint"] = Field(description="says what the line is")
    checkpoint: str = Field(description="its name among `checkpoints` of params.yaml")
    scores: Scores = Field(description="its scores.json")
    record: CheckpointRecord = Field(description="its record.json")

    @property
    def identity(self) -> Identity:
        """What no other line of the experiment has."""
        return self.kind, self.checkpoint, None


class FailureLine(ResultLine):
    """A run that ended without a score."""

    kind: Literal["failure"] = Field(description="says what the line is")
    variant: str = Field(description="variant of params.yaml")
    seed: int = Field(description="seed")
    stage: Stage = Field(description="the stage that failed")
    reason: str = Field(description="why it failed, in a sentence")
    at: int | None = Field(description="iteration, from 1; null if it failed in none")

    @property
    def identity(self) -> Identity:
        """What no other line of the experiment has."""
        return self.kind, self.variant, self.seed


class ExternalLine(ResultLine):
    """Label files that others predicted, scored here by the command `score`."""

    remedy: ClassVar[str] = "run `python -m pipeline score` to write it again"

    kind: Literal["external"] = Field(description="says what the line is")
    name: str = Field(description="its name")
    source: str = Field(description="where the predictions are from, in words")
    profile: str = Field(description="profile of params.yaml, whose data it is scored on")
    digest: Sha256 = Field(description="sha256 over the names and files of the predictions")
    protocol: Literal["external"] = Field(description="how it was predicted: not known here")
    images: int = Field(description="number of validation images")
    dataset_digest: Sha256 = Field(description="sha256 of the data, as in manifest.json")
    scores: ProtocolScores = Field(description="its scores, of one confusion matrix")
    code: Code = Field(description="the code that scored it")
    environment: Environment = Field(description="machine and libraries")

    @property
    def identity(self) -> Identity:
        """What no other line of the experiment has."""
        return self.kind, self.name, None


Line = RunLine | CheckpointLine | FailureLine | ExternalLine
_ADAPTER: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])


def write_lines(path: Path, lines: Iterable[Line]) -> None:
    """Write a file of results, a JSON object a line."""
    with whole_file(path) as partial:
        text = "".join(f"{json.dumps(line.as_json())}\n" for line in lines)
        partial.write_text(text, encoding="utf-8")


def read_lines(text: str, path: Path) -> list[Line]:
    """Return the lines of a text; `path` is where the text comes from, for messages."""
    return [
        parse_checked(_ADAPTER, line, f"{path}, line {number}", ResultLine.remedy, path)
        for number, line in enumerate(text.splitlines(), 1)
    ]
