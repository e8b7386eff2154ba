"""The claims as reports/claims.yaml has them, checked before any work."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from pipeline.engine.errors import InputError, describe_invalid
from pipeline.settings import params
from pipeline.settings.fields import Name, NotNegative, Positive, Size, Strict
from pipeline.settings.paths import CLAIMS, PUBLISHED
from pipeline.settings.schema import Params


class Greater(Strict):
    """A row is above another one."""

    kind: Literal["greater"]
    row: Name
    than: Name

    @property
    def rows(self) -> list[str]:
        return [self.row, self.than]


class NoWorse(Strict):
    """A row is at most `margin` points of mIoU below another one."""

    kind: Literal["no_worse"]
    row: Name
    than: Name
    margin: NotNegative

    @property
    def rows(self) -> list[str]:
        return [self.row, self.than]


class Best(Strict):
    """A row is above each of several others."""

    kind: Literal["best"]
    row: Name
    than: Annotated[list[Name], Field(min_length=1)]

    @property
    def rows(self) -> list[str]:
        return [self.row, *self.than]


class Trend(Strict):
    """mIoU rises with the logarithm of a quantity: `rows` has its value for each row."""

    kind: Literal["trend"]
    rows: Annotated[dict[Name, Positive], Field(min_length=2)]


class Ratio(Strict):
    """The cost of a block over that of another one, against a figure of the paper.

    Attributes:
        figure: The key of the figure in published.yaml, below efficiency.claims.
    """

    kind: Literal["ratio"]
    of: Literal["nb", "apnb", "fnb", "afnb"]
    over: Literal["nb", "apnb", "fnb", "afnb"]
    cost: Literal["seconds", "peak_bytes"]
    size: Size
    figure: str


Test = Annotated[Greater | NoWorse | Best | Trend | Ratio, Field(discriminator="kind")]


class Claim(Strict):
    """A claim of the paper.

    Attributes:
        words: The claim in a sentence.
        place: Where the paper makes it.
        built_in: What of it the drawn scenes were made to show.
        noted: What others saw.
        tests: It is supported if all of them support it.
    """

    words: str
    place: str
    built_in: str | None = None
    noted: str | None = None
    tests: Annotated[list[Test], Field(min_length=1)]

    @property
    def is_of_cost(self) -> bool:
        """Whether it speaks of measured costs, which belong to a device, not to an experiment."""
        return isinstance(self.tests[0], Ratio)


Claims = dict[str, Claim]
_ADAPTER: TypeAdapter[Claims] = TypeAdapter(dict[Name, Claim])


def read_claims(settings: Params, path: Path = CLAIMS) -> Claims:
    """Return the claims by their names.

    Raises:
        InputError: The file is missing or wrong, or names a row or a figure that does not exist.
    """
    values = params.read(path)
    try:
        claims = _ADAPTER.validate_python(values)
    except ValidationError as error:
        raise InputError(f"{path}: {describe_invalid(error)}") from None
    figures = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))["efficiency"]["claims"]
    for problem in _list_problems(claims, settings, figures):
        raise InputError(f"{path}: {problem}")
    return claims


def _list_problems(claims: Claims, settings: Params, figures: dict[str, Any]) -> Iterator[str]:
    for name, claim in claims.items():
        costs = [isinstance(test, Ratio) for test in claim.tests]
        if any(costs) and not all(costs):
            yield f"{name}.tests must be all of the kind ratio or none"
        for number, test in enumerate(claim.tests):
            key = f"{name}.tests.{number}"
            if isinstance(test, Ratio):
                if not isinstance(figures.get(test.figure), int | float):
                    known = ", ".join(k for k, v in figures.items() if isinstance(v, int | float))
                    yield f"{key}.figure must be one of {known}, got {test.figure!r}"
                continue
            for row in test.rows:
                if row not in settings.variants:
                    allowed = ", ".join(settings.variants)
                    yield f"{key} must name rows of {allowed}, got {row!r}"
            if len(set(test.rows)) < len(list(test.rows)):
                yield f"{key} must name each row once"
