"""What can stand in a network's context slot beside the paper's NB and APNB: one file each.

The file NAME.py is what `context: NAME` means in params.yaml. It has

    TITLE    the row's name in the tables
    PAPER    where it is from
    Context  a module from maps (B, C, H, W) to maps of the same shape; it is called with C and the
             network's BlockOptions, and its keyword arguments are its `settings` in params.yaml

Nothing else has to know of it. A training depends on its own file here, and not on the others.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

FOLDER = Path("contexts")


def names() -> tuple[str, ...]:
    """The contexts there are; none is imported, for PyTorch takes seconds."""
    return tuple(sorted(file.stem for file in Path(__file__).parent.glob("[a-z]*.py")))


def load(name: str) -> ModuleType:
    """The module of a context; a ValueError names those there are."""
    if name not in names():
        raise ValueError(f"context is {name!r}; allowed are {', '.join(names())}")
    return import_module(f"contexts.{name}")


def at_least_one(**settings: int | Sequence[int]) -> None:
    """A ValueError for a setting that is below 1, or a list with one that is, or without any."""
    for name, value in settings.items():
        values = value if isinstance(value, Sequence) else [value]
        if not values or min(values) < 1:
            raise ValueError(f"{name} is {value}; allowed is 1 or more")
