"""Read files of tensors that others wrote, .safetensors or .pth; nothing in them is executed."""

import io
import pickletools
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch._utils import IMPORT_MAPPING, NAME_MAPPING
from torch._weights_only_unpickler import _get_allowed_globals
from torch.serialization import safe_globals

from ann.foreign import Found
from pipeline.common import checkpoint
from pipeline.common.cli import InputError, word

_CURE = (
    "convert it where you trust it: `held = torch.load(FILE, weights_only=False, "
    "map_location='cpu')`, then `torch.save(held['state_dict'], NEW)`, or `held.state_dict()` if "
    "it is a whole network"
)
_PARTS = 4  # pickles in a file of PyTorch before 1.6; the tensors' bytes follow
_NAMES = 3  # of types, in a message
_DEPTH = 8  # of mappings in mappings; a pickle may hold one that holds itself


class Held(NamedTuple):
    """The mappings and tensors of a file, and the names of the other types in it."""

    content: dict[str, Any]
    dropped: list[str]


class _Inert(type):
    """Makes a placeholder's call, with which pickles make most objects, an object of no use."""

    def __call__(cls, *args: Any) -> Any:
        return object.__new__(cast(type[Any], cls)) if args else Counter()


class _Dropped(metaclass=_Inert):
    """Stands for a type that is no tensor's, which is neither imported nor called.

    PyTorch's reader makes objects of it instead. What is made without arguments is a Counter: the
    reader fills it with items and attributes alike.
    """

    def __new__(cls, *_: Any) -> Any:
        return Counter()

    def __setstate__(self, state: Any) -> None:
        """Take what the reader gives to objects that are made with arguments, and keep nothing."""


def _as_list(*_: Any) -> list[Any]:
    return []


def _as_mapping(*_: Any) -> Counter[Any]:
    return Counter()


_CONTAINERS: dict[str, Callable[..., Any]] = {
    "collections.deque": _as_list,
    "collections.defaultdict": _as_mapping,
}


def read_held(path: Path) -> Held:
    """Return the tensors of a file in their mappings, without all else that it holds.

    A .pth is read by PyTorch's reader for tensors and plain values alone. It meets a placeholder
    where the file names any other type, so that numpy's values, a trainer's settings and the like
    harm nothing and hinder nothing.
    """
    if path.suffix == ".safetensors":
        return Held(dict(checkpoint.load(path)[0]), [])
    names: list[str] = []
    whole = False
    try:
        for name in _type_names(path):
            names.append(name)
        whole = True
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception:
        pass
    names = list(dict.fromkeys(names))
    stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (_CONTAINERS.get(name) or _placeholder(name), name) for name in names
    ]
    try:
        with safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of protocols that it reads all the same
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of as many types as there are kinds of damage
        damaged = not whole or isinstance(error, (OSError, EOFError, RuntimeError))
        raise InputError(f"{path}: {_damage() if damaged else _refusal(names, error)}") from None
    held = _tensors_only(content)
    if not held:
        but = f", but {_listed(names)}; {_CURE}" if names else ""
        raise InputError(f"{path}: holds no tensors by name{but}")
    return Held(held, names)


def notes(path: Path, held: Held, found: Found) -> Iterator[str]:
    """Say what was taken from a file where that is not plain."""
    if found.others:
        others = ", ".join(found.others)
        yield f"{path}: took {found.source or 'the outermost tensors'}; {others} would fit as well"
    if held.dropped:
        yield f"{path}: ignored {_listed(held.dropped)} beside the tensors; nothing was executed"


def _type_names(path: Path) -> Iterator[str]:
    """The names of the types and functions in a file that PyTorch's reader does not know."""
    for stream in _pickles(path):
        for opcode, value, _ in pickletools.genops(stream):
            if opcode.name == "GLOBAL":
                module, name = str(value).split(" ", 1)
                module, name = NAME_MAPPING.get(
                    (module, name), (IMPORT_MAPPING.get(module, module), name)
                )
                if f"{module}.{name}" not in _get_allowed_globals():
                    yield f"{module}.{name}"


def _pickles(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            for _ in range(_PARTS):  # each is read to its end before the next
                yield file
            return
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.rpartition("/")[2] == "data.pkl":
                    yield io.BytesIO(archive.read(name))


def _placeholder(name: str) -> type:
    return _Inert(name, (_Dropped,), {})


def _tensors_only(content: Any, depth: int = 0) -> dict[str, Any]:
    """The tensors by name, and the mappings that hold some."""
    if not isinstance(content, dict) or depth > _DEPTH:
        return {}
    held = {}
    for key, value in dict.items(content):  # the file may have given it an attribute `items`
        kept = value if isinstance(value, Tensor) else _tensors_only(value, depth + 1)
        if isinstance(kept, Tensor) or kept:
            held[str(key)] = kept
    return held


def _damage() -> str:
    return "truncated or damaged, or not written by torch.save; nothing in it was executed"


def _refusal(names: list[str], error: Exception) -> str:
    """Why PyTorch's reader refuses a file that is whole."""
    if not names:
        return f"of a pickle protocol or kind that is not read; {_CURE}"
    named = sorted(names, key=lambda name: name.removeprefix("builtins.") not in str(error))
    return f"holds {_listed(named)}, which are not read because that could execute code; {_CURE}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES} more types" if len(names) > _NAMES else ""
    return ", ".join(map(word, names[:_NAMES])) + more
