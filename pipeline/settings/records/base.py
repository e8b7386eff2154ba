"""How a record is read and written, and the parts that several records share."""

from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from pipeline.engine.errors import InputError, describe_invalid, shorten
from pipeline.engine.files import write_json
from pipeline.settings.fields import Strict

VERSION = 1
Sha256 = str


class Record(Strict):
    """A file, or a line of one.

    Every key is always there: what does not apply is null. `remedy` says how to write the file
    again, where {folder} stands for its folder's name and {stem} for its own without the suffix.
    """

    remedy: ClassVar[str]

    version: Literal[1] = Field(description="version of this schema")

    def as_json(self) -> dict[str, Any]:
        """Return the record as plain JSON values, in the order of its fields."""
        return self.model_dump(mode="json")


R = TypeVar("R", bound=Record)
T = TypeVar("T")


def read(model: type[R], path: Path) -> R:
    """Read a file that holds one record.

    Raises:
        InputError: The file is of another version, or does not fit the model.
    """
    return parse(model, path.read_text(encoding="utf-8"), path)


def parse(model: type[R], text: str, path: Path) -> R:
    """Return the record that a text holds; `path` is where the text comes from, for messages."""
    return parse_checked(TypeAdapter(model), text, str(path), model.remedy, path)


def parse_checked(adapter: TypeAdapter[T], text: str, place: str, remedy: str, path: Path) -> T:
    """Return what a JSON text holds, as the type of `adapter`."""
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        remedy = remedy.format(folder=path.parent.name, stem=path.stem)
        raise InputError(f"{place}: {_problem(error, text)}; {remedy}") from None


def _problem(error: ValidationError, text: str) -> str:
    """Return what is wrong, the version first: a file of another one has other keys, too."""
    try:
        value = from_json(text)
    except ValueError:
        return "it is not valid JSON"
    if not isinstance(value, dict):
        return "it must hold a JSON object"
    if "version" not in value:
        return f"version is missing, so that the file is older than version {VERSION}"
    if value["version"] != VERSION:
        return f"version must be {VERSION}, got {shorten(value['version'])}"
    return describe_invalid(error)


def write(path: Path, record: Record) -> None:
    """Write a record as the file's only content."""
    write_json(path, record.as_json())


class Code(Strict):
    """The code that made the numbers."""

    commit: str | None = Field(description="git commit; null outside a repository")
    dirty: bool | None = Field(
        description="whether tracked files differed from the commit, beside reports/, dvc.lock, "
        "README.md and params.yaml"
    )


class Environment(Strict):
    """The machine and its libraries."""

    device: str = Field(description="name of the GPU, `cpu`, or the processor's name")
    cpu: str = Field(description="name of the processor")
    cpu_capability: str = Field(description="vector instructions that PyTorch uses, as `AVX2`")
    cores: int | None = Field(description="logical processor cores")
    system: str = Field(description="operating system and machine type")
    python: str = Field(description="version of Python")
    libraries: dict[str, str] = Field(description="version by library")
    lock: Sha256 | None = Field(description="sha256 of requirements.lock; null without that file")


class DataVersion(Strict):
    """The prepared data that a run saw."""

    name: str = Field(description="name of the dataset, as in params.yaml")
    title: str = Field(description="what the data are, in words")
    digest: Sha256 = Field(description="sha256 over all samples, as in manifest.json")
