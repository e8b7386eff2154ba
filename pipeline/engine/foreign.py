"""Read tensors from files that others wrote, .safetensors or .pth, without executing any code."""

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

from ann.foreign import StateMatch
from pipeline.engine import checkpoint
from pipeline.engine.errors import InputError, quote_name

_CURE = (
    "convert it where you trust it: `content = torch.load(FILE, weights_only=False, "
    "map_location='cpu')`, then `torch.save(content['state_dict'], NEW)`, or "
    "`content.state_dict()` if it is a whole network"
)
_PICKLES = 4  # in a file of PyTorch before 1.6; the tensors' bytes follow them
_MAX_NAMES = 3  # of types, in a message
_MAX_DEPTH = 8  # of nested mappings; a pickle may hold one that contains itself


class ForeignFile(NamedTuple):
    """What was read from a file.

    Attributes:
        content: The tensors by name, and the mappings that hold some.
        ignored_types: The names of all other types in the file.
    """

    content: dict[str, Any]
    ignored_types: list[str]


class _PlaceholderType(type):
    """Return a useless object from a placeholder's call; pickles make most objects by a call."""

    def __call__(cls, *args: Any) -> Any:
        return object.__new__(cast(type[Any], cls)) if args else Counter()


class _Placeholder(metaclass=_PlaceholderType):
    """Replace a type that tensors do not need, so that it is neither imported nor called.

    PyTorch's reader makes objects of the placeholder instead. A call without arguments returns a
    Counter, because the reader can set both items and attributes of it.
    """

    def __new__(cls, *_: Any) -> Any:
        return Counter()

    def __setstate__(self, state: Any) -> None:
        """Ignore the state that the reader sets on objects made with arguments."""


def _make_list(*_: Any) -> list[Any]:
    return []


def _make_mapping(*_: Any) -> Counter[Any]:
    return Counter()


_CONTAINERS: dict[str, Callable[..., Any]] = {
    "collections.deque": _make_list,
    "collections.defaultdict": _make_mapping,
}


def read_tensors(path: Path) -> ForeignFile:
    """Return the tensors of a file in their mappings, and ignore everything else in it.

    PyTorch's reader for weights only reads a .pth. Every other type that the file names, such as
    numpy's values or a trainer's settings, becomes a placeholder, which neither executes code nor
    prevents reading.

    Raises:
        InputError: The file cannot be read, is damaged, or has no tensors by name.
    """
    if path.suffix == ".safetensors":
        return ForeignFile(dict(checkpoint.load(path)[0]), [])
    names: list[str] = []
    is_complete = False
    try:
        for name in _list_types(path):
            names.append(name)
        is_complete = True
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception:
        pass
    names = list(dict.fromkeys(names))
    placeholders: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (_CONTAINERS.get(name) or _make_placeholder(name), name) for name in names
    ]
    try:
        with safe_globals(placeholders), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of pickle protocols that it can read
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damage can raise an exception of any type
        is_damaged = not is_complete or isinstance(error, (OSError, EOFError, RuntimeError))
        raise InputError(
            f"{path}: {_describe_damage() if is_damaged else _explain_refusal(names, error)}"
        ) from None
    tensors = _select_tensors(content)
    if not tensors:
        others = f", but {_join_names(names)}; {_CURE}" if names else ""
        raise InputError(f"{path}: holds no tensors by name{others}")
    return ForeignFile(tensors, names)


def describe_reading(path: Path, file: ForeignFile, match: StateMatch) -> Iterator[str]:
    """Yield a sentence for each choice that the user should know of.

    Args:
        path: The file's path.
        file: What `read_tensors` returned.
        match: The tensors that were taken from it.
    """
    if match.others:
        source, others = match.source or "the outermost tensors", ", ".join(match.others)
        yield f"{path}: took {source}; {others} would fit as well"
    if file.ignored_types:
        types = _join_names(file.ignored_types)
        yield f"{path}: ignored {types} beside the tensors; nothing was executed"


def _list_types(path: Path) -> Iterator[str]:
    """Yield the names of the types and functions that PyTorch's reader does not allow."""
    for stream in _open_pickles(path):
        for opcode, value, _ in pickletools.genops(stream):
            if opcode.name == "GLOBAL":
                module, name = str(value).split(" ", 1)
                module, name = NAME_MAPPING.get(
                    (module, name), (IMPORT_MAPPING.get(module, module), name)
                )
                if f"{module}.{name}" not in _get_allowed_globals():
                    yield f"{module}.{name}"


def _open_pickles(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            for _ in range(_PICKLES):  # the caller reads each to its end first
                yield file
            return
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.rpartition("/")[2] == "data.pkl":
                    yield io.BytesIO(archive.read(name))


def _make_placeholder(name: str) -> type:
    return _PlaceholderType(name, (_Placeholder,), {})


def _select_tensors(content: Any, depth: int = 0) -> dict[str, Any]:
    """Return the tensors by name, and the mappings that hold some."""
    if not isinstance(content, dict) or depth > _MAX_DEPTH:
        return {}
    tensors = {}
    for key, value in dict.items(content):  # the file may set an attribute `items` of the mapping
        inner = value if isinstance(value, Tensor) else _select_tensors(value, depth + 1)
        if isinstance(inner, Tensor) or inner:
            tensors[str(key)] = inner
    return tensors


def _describe_damage() -> str:
    return "truncated or damaged, or not written by torch.save; nothing in it was executed"


def _explain_refusal(names: list[str], error: Exception) -> str:
    """Return why PyTorch's reader refuses a file that is complete."""
    if not names:
        return f"of a pickle protocol or kind that is not read; {_CURE}"
    # The error names one type, which comes first here.
    names = sorted(names, key=lambda name: name.removeprefix("builtins.") not in str(error))
    return (
        f"holds {_join_names(names)}, which are not read because that could execute code; {_CURE}"
    )


def _join_names(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more types" if len(names) > _MAX_NAMES else ""
    return ", ".join(map(quote_name, names[:_MAX_NAMES])) + more
