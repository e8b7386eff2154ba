"""The models of a line of reports/results.jsonl: a run, a checkpoint, or a run that failed."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, TypeAdapter

from pipeline.settings.records.base import Record, checked
from pipeline.settings.records.runs import CheckpointRecord, RunRecord, Scores, Stage


class ResultLine(Record):
    """A line of reports/results.jsonl, written by the collect stage."""

    remedy: ClassVar[str] = "run `dvc repro -f -s collect` to write it again"


class RunLine(ResultLine):
    """A run that is trained and scored."""

    kind: Literal["run"] = Field(description="says what the line is")
    variant: str = Field(description="variant of params.yaml")
    seed: int = Field(description="seed")
    scores: Scores = Field(description="the run's scores.json")
    record: RunRecord = Field(description="the run's record.json")

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


class FailureLine(ResultLine):
    """A run that ended without a score."""

    kind: Literal["failure"] = Field(description="says what the line is")
    variant: str = Field(description="variant of params.yaml")
    seed: int = Field(description="seed")
    stage: Stage = Field(description="the stage that failed")
    reason: str = Field(description="why it failed, in a sentence")
    at: int | None = Field(description="iteration, from 1; null if it failed in none")


Line = RunLine | CheckpointLine | FailureLine
_ADAPTER: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])


def read_lines(text: str, path: Path) -> list[Line]:
    """Return the lines of a text; `path` is where the text comes from, for messages."""
    return [
        checked(_ADAPTER, line, f"{path}, line {number}", ResultLine.remedy, path)
        for number, line in enumerate(text.splitlines(), 1)
    ]
