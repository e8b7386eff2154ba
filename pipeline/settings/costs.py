"""What params.yaml says of the costs: what is measured, and what the plan assumes."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.settings.fields import Count, Name, Positive, Sampling, Size, Strict
from pipeline.settings.options import Choices


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
    tf32: Positive
    float32: Positive


class Plan(Strict):
    """The device that the plan assumes; none of this is measured."""

    device: str
    tflops: Tflops
    utilisation: Annotated[float, Field(gt=0, le=1)]
