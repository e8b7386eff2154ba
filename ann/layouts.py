"""The published ANN models, the authors' and mmsegmentation's: their state dicts and settings.

Both are ResNet-101 networks with AFNB and APNB. A layout is a table of renamed modules, read in
both directions; what else differs (stem, rounding, biases, pixels, align_corners) are settings.
"""

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ann.blocks import BlockOptions
from ann.foreign import Found, complete, faults, find_state
from ann.network import SegmentationNetwork, pixel_statistics

LAYOUTS = ("authors", "mmseg")

# Module here -> module there; all that starts with it is renamed alike. Two names: APNB's query
# and key are one convolution, whose tensors stand in the published state dicts twice.
_AUTHORS = {
    "backbone.stem.0": ("backbone.prefix.conv1",),
    "backbone.stem.1": ("backbone.prefix.bn1",),
    "backbone.stem.3": ("backbone.prefix.conv2",),
    "backbone.stem.4": ("backbone.prefix.bn2",),
    "backbone.stem.6": ("backbone.prefix.conv3",),
    "backbone.stem.7": ("backbone.prefix.bn3",),
    "backbone.layer": ("backbone.layer",),
    "fusion.query.0": ("fusion.stages.0.f_query.0",),
    "fusion.query.1": ("fusion.stages.0.f_query.1.0",),
    "fusion.key.0": ("fusion.stages.0.f_key.0",),
    "fusion.key.1": ("fusion.stages.0.f_key.1.0",),
    "fusion.value": ("fusion.stages.0.f_value",),
    "fusion.output": ("fusion.stages.0.W",),
    "fusion.fuse.0": ("fusion.conv_bn_dropout.0",),
    "fusion.fuse.1": ("fusion.conv_bn_dropout.1",),
    "reduce.0": ("context.0",),
    "reduce.1": ("context.1.0",),
    "context.query.0": ("context.2.stages.0.f_query.0", "context.2.stages.0.f_key.0"),
    "context.query.1": ("context.2.stages.0.f_query.1.0", "context.2.stages.0.f_key.1.0"),
    "context.value": ("context.2.stages.0.f_value",),
    "context.output": ("context.2.stages.0.W",),
    "context.fuse.0": ("context.2.conv_bn_dropout.0",),
    "context.fuse.1": ("context.2.conv_bn_dropout.1.0",),
    "classifier": ("cls",),
    "aux_reduce.0": ("dsn.0",),
    "aux_reduce.1": ("dsn.1.0",),
    "aux_classifier": ("dsn.3",),
}
_FUSION, _CONTEXT = "decode_head.fusion.", "decode_head.context."
_MMSEG = {
    "backbone": ("backbone",),
    "fusion.query.0": (_FUSION + "stages.0.query_project.conv",),
    "fusion.query.1": (_FUSION + "stages.0.query_project.bn",),
    "fusion.key.0": (_FUSION + "stages.0.key_project.conv",),
    "fusion.key.1": (_FUSION + "stages.0.key_project.bn",),
    "fusion.value": (_FUSION + "stages.0.value_project",),
    "fusion.output": (_FUSION + "stages.0.out_project",),
    "fusion.fuse.0": (_FUSION + "bottleneck.conv",),
    "fusion.fuse.1": (_FUSION + "bottleneck.bn",),
    "reduce.0": ("decode_head.bottleneck.conv",),
    "reduce.1": ("decode_head.bottleneck.bn",),
    "context.query.0": tuple(_CONTEXT + f"stages.0.{x}_project.conv" for x in ("query", "key")),
    "context.query.1": tuple(_CONTEXT + f"stages.0.{x}_project.bn" for x in ("query", "key")),
    "context.value": (_CONTEXT + "stages.0.value_project",),
    "context.output": (_CONTEXT + "stages.0.out_project",),
    "context.fuse.0": (_CONTEXT + "bottleneck.conv",),
    "context.fuse.1": (_CONTEXT + "bottleneck.bn",),
    "classifier": ("decode_head.conv_seg",),
    "aux_reduce.0": ("auxiliary_head.convs.0.conv",),
    "aux_reduce.1": ("auxiliary_head.convs.0.bn",),
    "aux_classifier": ("auxiliary_head.conv_seg",),
}
_TABLES = {"authors": _AUTHORS, "mmseg": _MMSEG}
_FIRST = "backbone.stem.0.weight"  # sees the colours: BGR in the authors' network
_CLASSIFIERS = ("classifier.weight", "aux_classifier.weight")


def layout_settings(layout: str) -> dict[str, Any]:
    """The keyword arguments of SegmentationNetwork that the layout stands for."""
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}; allowed are {', '.join(LAYOUTS)}")
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


def import_state(layout: str, held: Mapping[str, Any]) -> dict[str, Tensor]:
    """A published state dict as that of SegmentationNetwork(classes, **layout_settings(layout)).

    Every tensor is used, once. What a trainer puts around or beside them is taken off (see
    ann.foreign). Without an auxiliary head, which scoring does not use, its tensors are zeros.
    Raises ValueError naming the keys that are missing, not of the layout or of another shape, or
    the copies of a shared tensor that differ.
    """
    return import_found(layout, held)[0]


def import_found(layout: str, held: Mapping[str, Any]) -> tuple[dict[str, Tensor], Found]:
    """import_state, and where in `held` the tensors were."""
    settings = layout_settings(layout)
    found = find_state(held, _their_state(layout, 1), others_allowed=False)
    heads = [found.tensors[n] for n in _classifiers(layout) if n in found.tensors]
    classes = len(heads[0]) if heads and heads[0].ndim else 1
    theirs = _their_state(layout, classes)
    if not has_auxiliary(layout, found.tensors):
        theirs = without_auxiliary(layout, theirs)
    found = find_state(held, theirs, others_allowed=False)
    _refuse(layout, found.faults)
    own = _own_state(layout, classes)
    names = {name: _renamed(layout, name) for name in own}
    tensors = found.tensors
    unequal = [
        " and ".join(copies)
        for copies in names.values()
        if any(not _equal(tensors, copies[0], other) for other in copies[1:])
    ]
    _refuse(layout, [f"{pair} differ, allowed are equal copies" for pair in unequal])
    state = {name: tensors[c[0]] for name, c in names.items() if c[0] in tensors}
    return _turned(layout, complete(state, own)) | pixel_statistics(settings["pixels"]), found


def has_auxiliary(layout: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether there is any tensor of the auxiliary head."""
    return len(without_auxiliary(layout, tensors)) < len(tensors)


def without_auxiliary(layout: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by the layout's names that are not of the auxiliary head."""
    beside = {
        their
        for name in _own_state(layout, 1)
        if name.startswith("aux_")
        for their in _renamed(layout, name)
    }
    return {name: tensor for name, tensor in tensors.items() if name not in beside}


def export_state(layout: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of import_state, with its errors."""
    statistics = pixel_statistics(layout_settings(layout)["pixels"])
    classifier = state.get(_CLASSIFIERS[0])
    own = _own_state(layout, 1 if classifier is None else len(classifier))
    _refuse(layout, faults(state, own | statistics, others_allowed=False))
    other = [name for name, values in statistics.items() if not torch.equal(state[name], values)]
    _refuse(layout, [f"{name} is that of other pixels" for name in other])
    turned = _turned(layout, complete(state, own))
    return {their: turned[name] for name in own for their in _renamed(layout, name)}


def _their_state(layout: str, classes: int) -> dict[str, Tensor]:
    """The layout's state dict, shapes only."""
    own = _own_state(layout, classes)
    return {their: own[name] for name in own for their in _renamed(layout, name)}


def _classifiers(layout: str) -> list[str]:
    return [their for own in _CLASSIFIERS for their in _renamed(layout, own)]


def _equal(tensors: Mapping[str, Tensor], a: str, b: str) -> bool:
    """Whether two copies are equal; a counter that is missing is no difference."""
    return a not in tensors or b not in tensors or torch.equal(tensors[a], tensors[b])


@functools.cache
def _own_state(layout: str, classes: int) -> dict[str, Tensor]:
    """Our state dict for the layout, shapes only, without the normalisation: no one else has it."""
    settings = layout_settings(layout)
    with torch.device("meta"):
        state = SegmentationNetwork(classes, **settings).state_dict()
    return {k: v for k, v in state.items() if k not in pixel_statistics(settings["pixels"])}


def _renamed(layout: str, name: str) -> list[str]:
    """What the layout calls our tensor."""
    return [
        their + name.removeprefix(own)
        for own, theirs in _TABLES[layout].items()
        if name.startswith(own)
        for their in theirs
    ]


def _turned(layout: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The first convolution for RGB in place of the authors' BGR, and back."""
    return state | {_FIRST: state[_FIRST].flip(1)} if layout == "authors" else state


def _refuse(layout: str, wrong: list[str]) -> None:
    if wrong:
        raise ValueError(
            f"the tensors are not in the {layout} layout: {'; '.join(wrong[:3])} "
            f"({len(wrong)} in all)"
        )
