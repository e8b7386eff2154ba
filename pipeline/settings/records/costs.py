"""The models of networks.json and reports/efficiency/*.json: what was measured."""

from typing import ClassVar, Literal

from pydantic import Field

from pipeline.settings.costs import Efficiency
from pipeline.settings.fields import Size, Strict
from pipeline.settings.records.base import Code, Environment, Record

Status = Literal["measured", "over", "not fitting"]

_STATUS = (
    "`measured`, `over`: one call takes longer than the limit, or `not fitting` into the memory"
)


class Measurement(Strict):
    """Time and memory of a call."""

    peak_bytes: int = Field(description="peak memory in bytes, beyond inputs and weights")
    memory_by: str = Field(description="how the bytes were counted")
    seconds: float = Field(description="median seconds of a call")
    fastest: float | None = Field(
        default=None, description="seconds of the fastest call; null in older files"
    )
    slowest: float | None = Field(
        default=None, description="seconds of the slowest call; null in older files"
    )
    repeats: int = Field(description="number of calls that the median is of")


class OperationTimes(Strict):
    """Time of each operation of a call."""

    seconds: float = Field(description="seconds of the call of median length")
    repeats: int = Field(description="number of calls that the median is of")
    operations: dict[str, float] = Field(description="seconds of that call by kind of operation")


class NetworkCost(Strict):
    """A network's cost: one call at one input size."""

    profile: str = Field(description="profile of params.yaml")
    variant: str = Field(description="variant of params.yaml")
    call: Literal["forward", "step"] = Field(description="forward pass, or training step")
    size: Size = Field(description="height and width of an image, in pixels")
    batch: int = Field(description="number of images")
    parameters: int = Field(description="number of parameters")
    flops: int = Field(
        description="operations of one image's forward pass in the plain form, two a multiply-add"
    )
    status: Status = Field(description=_STATUS)
    measured: Measurement | None = Field(description="time and memory; null if not measured")


class NetworkCosts(Record):
    """reports/<profile>/networks.json, written by the networks stage."""

    remedy: ClassVar[str] = "run `dvc repro -f -s networks` to write it again"

    profile: str = Field(description="active profile of params.yaml")
    crop: Size = Field(description="height and width of its training crop, in pixels")
    iterations: int = Field(description="iterations of one of its trainings")
    limit: float = Field(description="longest call that is measured, in seconds")
    code: Code = Field(description="the code that measured")
    environment: Environment = Field(description="machine and libraries")
    networks: list[NetworkCost] = Field(description="a network's call each")


class BlockRow(Strict):
    """A block's forward pass, or its forward and backward pass, on one device at one size."""

    device: str = Field(description="name of the GPU or of the processor")
    block: Literal["nb", "apnb", "fnb", "afnb"] = Field(description="the block")
    form: Literal["plain", "fast"] = Field(description="form of its attention")
    call: Literal["forward", "forward+backward"] = Field(description="what is measured")
    size: Size = Field(description="height and width of the feature map, in positions")
    precision: Literal["float32", "bfloat16"] = Field(description="number type")
    channels_last: bool = Field(description="memory layout of maps and weights")
    flops: int = Field(
        description="operations of the forward pass in closed form, two a multiply-add"
    )
    bytes: int = Field(description="bytes that it reads and writes, in closed form")
    status: Status = Field(description=_STATUS)


class BlockCost(BlockRow):
    """Time and memory of a block."""

    measured: Measurement | None = Field(description="time and memory; null if not measured")


class OperationCost(BlockRow):
    """Time of a block by operation."""

    measured: OperationTimes | None = Field(description="seconds; null if not measured")


class BlockCosts(Record):
    """reports/efficiency/<name>.json, written by the efficiency stage on one machine."""

    remedy: ClassVar[str] = (
        "run `python -m pipeline efficiency {stem}` on the machine that it is of, to write it again"
    )

    settings: Efficiency = Field(description="`efficiency` of params.yaml")
    code: Code = Field(description="the code that measured")
    environment: Environment = Field(description="machine and libraries")
    blocks: list[BlockCost] = Field(description="the table: every block, form, call and size")
    operations: list[OperationCost] = Field(description="the figure of operation times")
    curve: list[BlockCost] = Field(description="the figure of cost against positions")
