"""State dicts that others saved: find the tensors in their wrapping, and fit them to a network."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

# Names that PyTorch's own wrappers put between the modules of a network.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# What trainers save inside a network, although its outputs do not depend on it.
_BESIDE = re.compile(r"(data_preprocessor|criterion|loss\w*)\.|(n_averaged|steps|step|epoch)$")
_AVERAGED = re.compile(r"ema|averag|swa|teacher|momentum|encoder_k|best", re.IGNORECASE)
_COUNTER = "num_batches_tracked"
_DEPTH = 4  # of mappings in mappings


class Found(NamedTuple):
    """Tensors by the network's own names; where in the file they were; what else fits as well."""

    tensors: dict[str, Tensor]
    source: str
    others: list[str]
    faults: list[str]


def find_state(held: Any, expected: Mapping[str, Tensor], *, others_allowed: bool) -> Found:
    """Find the tensors that fit a network best, whatever a trainer wrapped them in.

    Every mapping in `held` that holds tensors is tried, with every prefix under which names of the
    network stand. Where several fit alike, plain weights come before averaged ones (of a name with
    ema, teacher, swa, ...), then the less nested, then the first in the file.

    Args:
        held: what a file holds: tensors by name, with or without mappings around them.
        expected: the network's tensors, also on the meta device; only their shapes are read.
        others_allowed: whether tensors of modules that the network lacks are no fault, as a
            classifier is none where only the backbone is read.
    """
    candidates = [
        (len(wrong), bool(_AVERAGED.search(source)), source.count("."), source, tensors, wrong)
        for path, flat in _mappings(held)
        for prefix in _prefixes(flat, expected)
        for source in [".".join(filter(None, [path, prefix.rstrip(".")]))]
        for tensors in [{k[len(prefix) :]: t for k, t in flat.items() if k.startswith(prefix)}]
        for wrong in [faults(tensors, expected, others_allowed=others_allowed)]
    ]
    if not candidates:
        return Found({}, "", [], [f"{name} is missing" for name in expected])
    best = min(candidates, key=lambda c: c[:3])  # the first of equals
    others = [c[3] for c in candidates if c is not best and c[0] == best[0]]
    known = {n: t for n, t in best[4].items() if n in expected}
    return Found(known, best[3], others, best[5])


def faults(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, others_allowed: bool
) -> list[str]:
    """What keeps the tensors from the network: a phrase for each name.

    A counter of batches is no fault, missing or beyond: PyTorch itself takes a missing one as 0.
    """
    modules = {name.split(".")[0] for name in expected}
    wrong = [
        f"{name} is {_text(tensors[name])}, allowed is {_text(empty)}"
        for name, empty in expected.items()
        if name in tensors and not _fits(name, tensors[name], empty)
    ]
    wrong += [
        f"{name} is missing"
        for name in expected
        if name not in tensors and not name.endswith(_COUNTER)
    ]
    return wrong + [
        f"{name} is not of it"
        for name in tensors
        if name not in expected
        and not name.endswith(_COUNTER)
        and not _BESIDE.match(name)
        and not (others_allowed and name.split(".")[0] not in modules)
    ]


def complete(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The expected tensors in the network's types; zeros where `tensors` has none."""
    return {
        name: tensors[name].detach().to(empty.dtype).reshape(empty.shape)
        if name in tensors
        else torch.zeros(empty.shape, dtype=empty.dtype)
        for name, empty in expected.items()
    }


def _fits(name: str, tensor: Tensor, empty: Tensor) -> bool:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        return False
    if name.endswith(_COUNTER):
        return tensor.numel() == 1
    alike = tensor.is_floating_point() == empty.is_floating_point()
    return alike and tensor.shape == empty.shape


def _text(tensor: Tensor) -> str:
    shape = "x".join(map(str, tensor.shape)) or "a scalar"
    usual = tensor.is_floating_point() or tensor.dtype == torch.int64
    plain = usual and tensor.layout == torch.strided
    return shape if plain else f"{shape} of {str(tensor.dtype).removeprefix('torch.')}"


def _mappings(held: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """All mappings with tensors in them, the outer ones first, wrappers' names taken off."""
    if not isinstance(held, Mapping) or depth > _DEPTH:
        return
    tensors = {k: v for k, v in held.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if tensors:
        bare = {_unwrapped(name): tensor for name, tensor in tensors.items()}
        yield path, bare if len(bare) == len(tensors) else tensors
    for key, value in held.items():
        yield from _mappings(value, f"{path}.{key}".lstrip("."), depth + 1)


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _prefixes(flat: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """The prefixes under which most of the expected names stand, in the file's order."""
    counts: Counter[str] = Counter()
    for name in flat:
        starts = [0, *(i + 1 for i, letter in enumerate(name) if letter == ".")]
        counts.update(name[:i] for i in starts if name[i:] in expected)
    most = max(counts.values(), default=0)
    return [prefix for prefix, count in counts.items() if 2 * count > most]
