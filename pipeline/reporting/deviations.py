"""Where paper, released code and the active profile differ, each with the switch that decides.

The texts are of what params.yaml, ann.BlockOptions and published.yaml say of paper and code; what
the profile uses is read from params.yaml. Nothing is said of the paper that is not known here.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from pipeline.common.params import Params

UNSAID = "-"
NOTES = (
    "*switch*: a key of params.yaml, of network and train below `profiles.{profile}`; "
    "*here*: what it is in the active profile `{profile}`, and in the variants that set it "
    "themselves; *as*: whether that is the paper's or the released code's choice. A dash: nothing "
    "is known here of that side."
)


@dataclass(frozen=True)
class Deviation:
    """One choice. paper, code: in words; paper_is, code_is: as the switch has it, UNSAID if that
    is not known."""

    about: str
    switch: str
    paper: str
    code: str
    paper_is: Any = UNSAID
    code_is: Any = UNSAID


OPTIONS = (
    Deviation(
        "f of query and key",
        "normalization",
        "softmax, or division by the number of positions, or none",
        "softmax",
        UNSAID,
        "softmax",
    ),
    Deviation(
        "Y, the block's output",
        "output",
        "W_o(O^T) concatenated with X, or added to it",
        "concatenated, then a 1x1 convolution",
        UNSAID,
        "concat",
    ),
    Deviation(
        "query and key in APNB",
        "share_query_key",
        "two convolutions",
        "one convolution",
        False,
        True,
    ),
    Deviation(
        "key and value in AFNB", "share_key_value", "one embedding", "two convolutions", True, False
    ),
    Deviation(
        "after query and key", "embedding_norm", "nothing", "batch norm and ReLU", False, True
    ),
    Deviation(
        "similarity", "scale", "not scaled", "the query times key_channels ** -0.5", False, True
    ),
    Deviation("W_o at the start", "zero_init", "not said", "zero", UNSAID, True),
    Deviation("bias of convolutions before batch norm", "bias", "not said", "yes", UNSAID, True),
    Deviation("form, the same but for rounding", "form", "plain: the equations", UNSAID),
)
NETWORK = (
    Deviation("backbone", "backbone", "ResNet-101", "ResNet-101", "resnet101", "resnet101"),
    Deviation("its weights at the start", "weights", UNSAID, "of ImageNet", UNSAID, "imagenet"),
    Deviation("its stem", "stem", UNSAID, "three 3x3 convolutions", UNSAID, "deep"),
    Deviation("rounding of the stem's max pool", "ceil_mode", UNSAID, "up", UNSAID, True),
    Deviation("channels of the auxiliary head", "aux_channels", UNSAID, "512", UNSAID, 512),
    Deviation(
        "normalisation of the pixels",
        "pixels",
        UNSAID,
        "Caffe's mean colour is subtracted",
        UNSAID,
        "caffe",
    ),
    Deviation("resizing of the logits", "align_corners", UNSAID, "corners aligned", UNSAID, True),
    Deviation("dropout in blocks and auxiliary head", "dropout", UNSAID, "0.05", UNSAID, 0.05),
)
RECIPE = {  # switch: about, and where published.yaml has the released code's
    "iterations": ("iterations", "schedule.iterations"),
    "batch_size": ("batch size, over all processes", "batch_size"),
    "augment.crop": ("crop", "crop"),
    "power": ("power of the learning rate's decay", "schedule.power"),
    "optimizer.name": ("optimiser", "optimizer.name"),
    "optimizer.lr": ("learning rate", "optimizer.lr"),
    "optimizer.momentum": ("momentum", "optimizer.momentum"),
    "optimizer.weight_decay": ("weight decay", "optimizer.weight_decay"),
    "augment.scale": ("scale of samples", "augmentation.scale"),
    "augment.aspect": ("aspect of samples", "augmentation.aspect"),
    "augment.hflip": ("share of mirrored samples", "augmentation.hflip"),
    "augment.brightness": ("shift of brightness", "augmentation.brightness_shift"),
}
RANDOM = (
    "random: n^2 positions of the map without replacement; pyramid random: one position in each "
    "bin of adaptive pooling"
)


def table(settings: Params, published: dict[str, Any]) -> pd.DataFrame:
    """A row a choice: about, switch, paper, code, here, as."""
    profile = settings.active.model_dump(mode="json")
    recipe = _recipe(published["authors_recipe"].get(settings.active.dataset, {}))
    rows = [_row(settings, profile["network"], "network", d) for d in NETWORK]
    for d in OPTIONS:
        rows.append(_row(settings, profile["network"]["options"], "network.options", d))
    rows += [_row(settings, profile["train"], "train", d) for d in recipe]
    data = settings.data_title
    named = {"about": "data of the ablation", "switch": "dataset_dir", "paper": "Cityscapes"}
    same = "paper" if data == "cityscapes" else "not the paper's"
    rows.append(named | {"code": UNSAID, "here": data, "as": same})
    named = {"about": "random sampling", "switch": "none: `ann/sampling.py`", "code": UNSAID}
    rows.append(named | {"paper": "named, not spelled out", "here": RANDOM, "as": "our reading"})
    return pd.DataFrame(rows)[["about", "switch", "paper", "code", "here", "as"]]


def _recipe(known: dict[str, Any]) -> list[Deviation]:
    """How the released code trains on these data; what published.yaml does not tell is UNSAID."""
    loss = known.get("loss", {})
    ohem = {"threshold": 0.7, "min_kept": 100000} if loss else UNSAID
    aux = 0.4 if loss else UNSAID
    weights = "Cityscapes' own" if loss.get("class_weights") else UNSAID
    values = {switch: _at(known, where) for switch, (_, where) in RECIPE.items()}
    values["optimizer.name"] = values["optimizer.name"].lower()
    if values["augment.crop"] != UNSAID:
        values["augment.crop"] = [values["augment.crop"]] * 2
    pixels, resized = "cross entropy of all pixels", "logits resized to the labels"
    return [
        Deviation("L_final", "loss.ohem", pixels, loss.get("final", UNSAID), None, ohem),
        Deviation("weight of L_Stage4", "loss.aux_weight", "0.4", str(aux), 0.4, aux),
        Deviation("class weights", "loss.class_weights", UNSAID, weights),
        Deviation("where the loss is taken", "loss.at_labels", resized, UNSAID, True),
        *(
            Deviation(RECIPE[switch][0], switch, UNSAID, _text(value), UNSAID, value)
            for switch, value in values.items()
        ),
    ]


def _at(values: Any, where: str) -> Any:
    """What lies at `a.b`; UNSAID if nothing does."""
    for key in where.split("."):
        values = values.get(key, UNSAID) if isinstance(values, dict) else UNSAID
    return values


def _row(settings: Params, values: dict[str, Any], where: str, d: Deviation) -> dict[str, str]:
    value = _at(values, d.switch)
    known = {"paper": d.paper_is, "code": d.code_is}
    known = {side: given for side, given in known.items() if given != UNSAID}
    sides = [side for side, given in known.items() if given == value]
    own = {
        name: found
        for name, variant in settings.variants.items()
        if where.startswith("network")
        and (found := _own(variant.model_dump(exclude_none=True), where, d.switch)) is not None
    }
    return {
        "about": d.about,
        "switch": f"`{where}.{d.switch}`",
        "paper": d.paper,
        "code": d.code,
        "here": "; ".join([_text(value), *(f"{n}: {_text(v)}" for n, v in own.items())]),
        "as": " and ".join(sides) or _unlike(list(known)),
    }


def _unlike(sides: list[str]) -> str:
    """Of a choice that is no side's."""
    return "neither" if len(sides) == 2 else f"not the {sides[0]}'s" if sides else UNSAID


def _own(variant: dict[str, Any], where: str, switch: str) -> Any:
    """What the variant says of the switch itself; None if nothing."""
    return (variant.get("options", {}) if where.endswith("options") else variant).get(switch)


def _text(value: Any) -> str:
    """As params.yaml has it, on one line."""
    if value == UNSAID:
        return UNSAID
    text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("...\n").strip()


def notes(settings: Params) -> str:
    """What the columns are."""
    return NOTES.format(profile=settings.profile)
