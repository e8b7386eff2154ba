"""State dicts that others saved: find the tensors in a file and fit them to a network."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

# Names that PyTorch's own wrappers put between the modules of a network.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# What trainers save inside a network, although its outputs do not depend on it.
_UNUSED = re.compile(r"(data_preprocessor|criterion|loss\w*)\.|(n_averaged|steps|step|epoch)$")
_AVERAGED = re.compile(r"ema|averag|swa|teacher|momentum|encoder_k|best", re.IGNORECASE)
_COUNTER = "num_batches_tracked"
_DEPTH = 4  # of mappings in mappings


class StateMatch(NamedTuple):
    """The tensors of a file that fit a network best.

    Attributes:
        tensors: By the network's own names.
        source: Where in the file they are: names of mappings with dots between.
        others: The sources that fit as well.
        faults: What keeps the tensors from the network, a phrase for each name.
    """

    tensors: dict[str, Tensor]
    source: str
    others: list[str]
    faults: list[str]


def find_state(content: Any, expected: Mapping[str, Tensor], *, others_allowed: bool) -> StateMatch:
    """Find the tensors that fit a network best, whatever a trainer wrapped them in.

    Every mapping in `content` that holds tensors is tried, with every prefix under which names of
    the network stand. If several fit equally well, averaged weights (of a name with ema, teacher,
    swa, ...) come last, then the more nested, then the later in the file.

    Args:
        content: The content of a file: tensors by name, with or without mappings around them.
        expected: The network's tensors, also on the meta device; only their shapes are read.
        others_allowed: Whether tensors of modules that the network lacks are no fault. A classifier
            is none where only the backbone is read.
    """
    candidates = [
        (len(wrong), bool(_AVERAGED.search(source)), source.count("."), source, tensors, wrong)
        for path, flat in _mappings(content)
        for prefix in _prefixes(flat, expected)
        for source in [".".join(filter(None, [path, prefix.rstrip(".")]))]
        for tensors in [{k[len(prefix) :]: t for k, t in flat.items() if k.startswith(prefix)}]
        for wrong in [list_faults(tensors, expected, others_allowed=others_allowed)]
    ]
    if not candidates:
        return StateMatch({}, "", [], [f"{name} is missing" for name in expected])
    best = min(candidates, key=lambda c: c[:3])  # the first of equals
    others = [c[3] for c in candidates if c is not best and c[0] == best[0]]
    known = {n: t for n, t in best[4].items() if n in expected}
    return StateMatch(known, best[3], others, best[5])


def list_faults(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, others_allowed: bool
) -> list[str]:
    """List what keeps the tensors from loading into the network, a phrase for each name.

    A missing or superfluous counter of batches is no fault; PyTorch itself takes a missing one as
    0.

    Args:
        tensors: By name.
        expected: The network's tensors, also on the meta device.
        others_allowed: Whether tensors of modules that the network lacks are no fault.
    """
    modules = {name.split(".")[0] for name in expected}
    wrong = [
        f"{name} must be {_describe(empty)}, got {_describe(tensors[name])}"
        for name, empty in expected.items()
        if name in tensors and not _fits(name, tensors[name], empty)
    ]
    wrong += [
        f"{name} is missing"
        for name in expected
        if name not in tensors and not name.endswith(_COUNTER)
    ]
    return wrong + [
        f"{name} is no tensor of the network"
        for name in tensors
        if name not in expected
        and not name.endswith(_COUNTER)
        and not _UNUSED.match(name)
        and not (others_allowed and name.split(".")[0] not in modules)
    ]


def complete(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the expected tensors in the network's types, with zeros where `tensors` has none."""
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
    same_kind = tensor.is_floating_point() == empty.is_floating_point()
    return same_kind and tensor.shape == empty.shape


def _describe(tensor: Tensor) -> str:
    """Return the shape of a tensor, and its dtype if that is unusual."""
    shape = "x".join(map(str, tensor.shape)) or "a scalar"
    usual = tensor.is_floating_point() or tensor.dtype == torch.int64
    usual = usual and tensor.layout == torch.strided
    return shape if usual else f"{shape} of {str(tensor.dtype).removeprefix('torch.')}"


def _mappings(
    content: Any, path: str = "", depth: int = 0
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield all mappings that have tensors, the outer ones first, without the wrappers' names."""
    if not isinstance(content, Mapping) or depth > _DEPTH:
        return
    tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if tensors:
        bare = {_strip_wrappers(name): tensor for name, tensor in tensors.items()}
        yield path, bare if len(bare) == len(tensors) else tensors
    for name, value in content.items():
        yield from _mappings(value, f"{path}.{name}".lstrip("."), depth + 1)


def _strip_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _prefixes(flat: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Return the prefixes under which most of the expected names stand, in the file's order."""
    counts: Counter[str] = Counter()
    for name in flat:
        starts = [0, *(i + 1 for i, letter in enumerate(name) if letter == ".")]
        counts.update(name[:i] for i in starts if name[i:] in expected)
    most = max(counts.values(), default=0)
    return [prefix for prefix, count in counts.items() if 2 * count > most]
