"""Load params.yaml, and check it against the schema and the rules between its values."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipeline.engine import yaml_file
from pipeline.engine.errors import InputError, describe_invalid
from pipeline.settings.fields import Name
from pipeline.settings.paths import PARAMS_FILE
from pipeline.settings.rules import list_problems
from pipeline.settings.schema import Checkpoint, Params


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check params.yaml.

    Raises:
        InputError: The file cannot be read, or a value in it is wrong.
    """
    return check(read(path), path)


def read(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Return what params.yaml holds, unchecked.

    Raises:
        InputError: The file cannot be read, or holds no mapping.
    """
    try:
        values = yaml_file.read_yaml(path)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; run from the repository's root") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    except InputError:
        raise
    except Exception as error:  # tags and dates raise errors of other libraries
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise InputError(f"{path} is not valid YAML{line}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold a mapping of settings, got {type(values).__name__}")
    return values


def validate(values: dict[str, Any], path: Path = PARAMS_FILE) -> Params:
    """Return the settings, with their types and ranges checked but not the rules between them.

    Raises:
        InputError: A value is wrong; the message names the first such key.
    """
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {describe_invalid(error)}") from None


def check(values: dict[str, Any], path: Path = PARAMS_FILE) -> Params:
    """Return the settings of a file.

    Args:
        values: What the file holds.
        path: The file, for messages.

    Raises:
        InputError: A value is wrong; the message names the first such key.
    """
    settings = validate(values, path)
    for problem in list_problems(settings):
        raise InputError(f"{path}: {problem}")
    return settings


def require_run(params: Params, variant: str, seed: int) -> None:
    """Raise an InputError for a variant or a seed that params.yaml does not list."""
    if variant not in params.rows:
        raise InputError(f"variant must be one of {', '.join(params.rows)}, got {variant!r}")
    if seed not in params.seeds:
        raise InputError(f"seed must be one of {', '.join(map(str, params.seeds))}, got {seed}")


def require_profile(params: Params, name: str) -> None:
    """Raise an InputError for a profile that params.yaml does not have."""
    if name not in params.profiles:
        raise InputError(f"profile must be one of {', '.join(params.profiles)}, got {name!r}")


def require_new_experiment(params: Params, name: str) -> None:
    """Raise an InputError for a name of results that no experiment can have, or a profile has."""
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise InputError(
            f"NAME must be small letters, digits and _, a letter first, got {name!r}"
        ) from None
    if name in params.profiles:
        raise InputError(
            f"NAME must not be a profile's, got {name!r}, whose results the collect stage writes"
        )


def find_checkpoint(params: Params, name: str) -> Checkpoint:
    """Return one of `checkpoints`; raise an InputError if params.yaml does not list it."""
    if name not in params.checkpoints:
        known = ", ".join(params.checkpoints) or "none so far"
        raise InputError(f"checkpoints in params.yaml must list {name!r}; it lists {known}")
    return params.checkpoints[name]
