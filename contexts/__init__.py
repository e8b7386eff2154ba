"""Blocks for a network's context slot beside the paper's NB and APNB, one file each.

`context: NAME` in params.yaml means the file NAME.py. It has

    TITLE    the row's name in the tables
    PAPER    where the block is from
    Context  a module from maps (B, C, H, W) to maps of the same shape; it is called with C and the
             network's BlockOptions, and its keyword arguments are its `settings` in params.yaml

Nothing else has to know of it. A training depends on its own file here, and not on the others. The
letters of shapes are those of `ann`.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

FOLDER = Path("contexts")


def names() -> tuple[str, ...]:
    """Return the names of the contexts. None is imported, because PyTorch takes seconds."""
    return tuple(sorted(file.stem for file in Path(__file__).parent.glob("[a-z]*.py")))


def load(name: str) -> ModuleType:
    """Import the module of a context.

    Args:
        name: One of names().

    Raises:
        ValueError: It names the contexts that there are.
    """
    if name not in names():
        raise ValueError(f"context must be one of {', '.join(names())}, got {name!r}")
    return import_module(f"contexts.{name}")


def require_at_least_one(**settings: int | Sequence[int]) -> None:
    """Refuse a setting below 1, a list with such a number, and an empty list.

    Args:
        settings: Numbers, or lists of numbers, by name.

    Raises:
        ValueError: It names the setting and what is allowed.
    """
    for name, value in settings.items():
        values = value if isinstance(value, Sequence) else [value]
        if not values or min(values) < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}")
