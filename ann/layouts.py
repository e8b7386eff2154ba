"""The published ANN models, the authors' and mmsegmentation's: their state dicts and settings.

Both are ResNet-101 networks with AFNB and APNB. A layout is a table of names (ann.layout_names),
read in both directions. All other differences are settings: stem, rounding, biases, pixels and
align_corners.
"""

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ann.foreign import StateMatch, complete, find_state, list_faults
from ann.layout_names import TABLES, rename
from ann.network import SegmentationNetwork, pixel_statistics
from ann.options import BlockOptions

LAYOUTS = tuple(TABLES)

_FIRST = "backbone.stem.0.weight"  # sees the colours: BGR in the authors' network
_CLASSIFIERS = ("classifier.weight", "aux_classifier.weight")


def layout_settings(layout: str) -> dict[str, Any]:
    """Return the keyword arguments of SegmentationNetwork that the layout stands for.

    Args:
        layout: One of LAYOUTS.

    Raises:
        ValueError: It names the layouts that there are.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    authors = layout == "authors"
    return {
        "backbone": "resnet101",
        "stem": "deep" if authors else "deep64",
        "ceil_mode": authors,
        "output_stride": 8,
        "fusion": "afnb",
        "context": "apnb",
        "sampling": "pyramid_average",
        "pool_sizes": [1, 3, 6, 8],
        "channels": 512,
        "key_channels": 256,
        "value_channels": 256,
        "aux_channels": 512 if authors else 256,
        "pixels": "caffe" if authors else "imagenet",
        "align_corners": authors,
        "dropout": 0.05 if authors else 0.1,
        "options": BlockOptions(
            share_query_key=True,
            share_key_value=False,
            embedding_norm=True,
            scale=True,
            zero_init=True,
            bias=authors,
        ),
    }


def import_state(layout: str, content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Turn a published state dict into that of a SegmentationNetwork with the layout's settings.

    Every tensor is used once. What a trainer puts around or beside the tensors is removed (see
    ann.foreign). If there is no auxiliary head, which scoring does not use, its tensors are zeros.

    Args:
        layout: One of LAYOUTS.
        content: The content of a file: tensors by name, with or without mappings around them.

    Returns:
        The state of SegmentationNetwork(classes, **layout_settings(layout)).

    Raises:
        ValueError: It names the tensors that are missing, not of the layout or of another shape, or
            the copies of a shared tensor that differ.
    """
    return import_match(layout, content)[0]


def import_match(layout: str, content: Mapping[str, Any]) -> tuple[dict[str, Tensor], StateMatch]:
    """Return what import_state returns, and which tensors of `content` it used.

    Args:
        layout: One of LAYOUTS.
        content: See import_state.

    Raises:
        ValueError: See import_state.
    """
    settings = layout_settings(layout)
    match = find_state(content, _their_state(layout, 1), others_allowed=False)
    heads = [match.tensors[n] for n in _classifiers(layout) if n in match.tensors]
    classes = len(heads[0]) if heads and heads[0].ndim else 1
    theirs = _their_state(layout, classes)
    if not has_auxiliary(layout, match.tensors):
        theirs = drop_auxiliary(layout, theirs)
    match = find_state(content, theirs, others_allowed=False)
    _refuse(layout, match.faults)
    own = _own_state(layout, classes)
    names = {name: rename(layout, name) for name in own}
    tensors = match.tensors
    unequal = [
        " and ".join(copies)
        for copies in names.values()
        if any(not _equal(tensors, copies[0], other) for other in copies[1:])
    ]
    _refuse(layout, [f"{pair} must be equal copies" for pair in unequal])
    state = {name: tensors[c[0]] for name, c in names.items() if c[0] in tensors}
    state = _swap_colours(layout, complete(state, own))
    return state | pixel_statistics(settings["pixels"]), match


def has_auxiliary(layout: str, tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether any tensor, by the layout's names, is of the auxiliary head."""
    return len(drop_auxiliary(layout, tensors)) < len(tensors)


def drop_auxiliary(layout: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors, by the layout's names, that are not of the auxiliary head."""
    auxiliary = {
        their
        for name in _own_state(layout, 1)
        if name.startswith("aux_")
        for their in rename(layout, name)
    }
    return {name: tensor for name, tensor in tensors.items() if name not in auxiliary}


def export_state(layout: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the state dict of a SegmentationNetwork into a published one.

    Args:
        layout: One of LAYOUTS.
        state: The state of SegmentationNetwork(classes, **layout_settings(layout)).

    Returns:
        Tensors by the layout's names, from which import_state makes `state` again.

    Raises:
        ValueError: It names the tensors that do not fit the layout.
    """
    statistics = pixel_statistics(layout_settings(layout)["pixels"])
    classifier = state.get(_CLASSIFIERS[0])
    own = _own_state(layout, 1 if classifier is None else len(classifier))
    _refuse(layout, list_faults(state, own | statistics, others_allowed=False))
    other = [name for name, values in statistics.items() if not torch.equal(state[name], values)]
    _refuse(layout, [f"{name} must be that of the layout" for name in other])
    state = _swap_colours(layout, complete(state, own))
    return {their: state[name] for name in own for their in rename(layout, name)}


def _their_state(layout: str, classes: int) -> dict[str, Tensor]:
    """Return the layout's state dict on the meta device."""
    own = _own_state(layout, classes)
    return {their: own[name] for name in own for their in rename(layout, name)}


def _classifiers(layout: str) -> list[str]:
    return [their for own in _CLASSIFIERS for their in rename(layout, own)]


def _equal(tensors: Mapping[str, Tensor], a: str, b: str) -> bool:
    """Tell whether two copies are equal; a missing one is no difference."""
    return a not in tensors or b not in tensors or torch.equal(tensors[a], tensors[b])


@functools.cache
def _own_state(layout: str, classes: int) -> dict[str, Tensor]:
    """Return our state dict on the meta device, without the normalisation, which only we have."""
    settings = layout_settings(layout)
    with torch.device("meta"):
        state = SegmentationNetwork(classes, **settings).state_dict()
    statistics = pixel_statistics(settings["pixels"])
    return {name: tensor for name, tensor in state.items() if name not in statistics}


def _swap_colours(layout: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Swap the first convolution's RGB and BGR, which the authors' network sees."""
    return state | {_FIRST: state[_FIRST].flip(1)} if layout == "authors" else state


def _refuse(layout: str, wrong: list[str]) -> None:
    if wrong:
        raise ValueError(
            f"the tensors are not in the {layout} layout: {'; '.join(wrong[:3])} "
            f"({len(wrong)} in all)"
        )
