"""Where paper, released code and the active profile differ, each with its switch.

The texts repeat what params.yaml, ann.BlockOptions and published.yaml say about paper and code.
What the profile uses is read from params.yaml. What is not known about the paper stays out.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from pipeline.reporting import measured, provenance
from pipeline.reporting.columns import Column, Table
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.sections import Section, TableFile
from pipeline.reporting.tables.released import link_code
from pipeline.settings.schema import Params

UNKNOWN = "-"
NOTE = (
    "- *switch*: a key of params.yaml, below `profiles.{profile}`.\n"
    "- *here*: its value in the active profile `{profile}`, and in the variants that set their "
    "own.\n"
    "- *as*: whether that is the paper's or the released code's choice.\n"
    "- A dash: it is not known what that side does."
)
COLUMNS = tuple(Column(key) for key in ("about", "switch", "paper", "code", "here", "as"))


@dataclass(frozen=True)
class Deviation:
    """One choice.

    Attributes:
        about: What is chosen.
        switch: Its key in params.yaml.
        paper: The paper's choice in words.
        code: The released code's choice in words.
        paper_is: The paper's choice as a value of the switch, UNKNOWN if it is not known.
        code_is: The released code's choice as a value of the switch.
    """

    about: str
    switch: str
    paper: str
    code: str
    paper_is: Any = UNKNOWN
    code_is: Any = UNKNOWN


OPTIONS = (
    Deviation(
        "f of query and key",
        "normalization",
        "softmax, or division by the number of positions, or none",
        "softmax",
        UNKNOWN,
        "softmax",
    ),
    Deviation(
        "Y, the block's output",
        "output",
        "W_o(O^T) concatenated with X, or added to it",
        "concatenated, then a 1x1 convolution",
        UNKNOWN,
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
    Deviation("W_o at the start", "zero_init", "not said", "zero", UNKNOWN, True),
    Deviation("bias of convolutions before batch norm", "bias", "not said", "yes", UNKNOWN, True),
    Deviation("batch norm after W_o", "output_norm", "not said", "no", UNKNOWN, False),
    Deviation("ReLU after AFNB and FNB", "fusion_relu", "not said", "no", UNKNOWN, False),
    Deviation("form, the same up to rounding", "form", "plain: the equations", UNKNOWN),
    Deviation(
        "attention again in the backward pass", "recompute", "not said", "no", UNKNOWN, False
    ),
)
NETWORK = (
    Deviation("backbone", "backbone", "ResNet-101", "ResNet-101", "resnet101", "resnet101"),
    Deviation("its weights at the start", "weights", UNKNOWN, "of ImageNet", UNKNOWN, "imagenet"),
    Deviation("whether it stays as it is", "freeze", UNKNOWN, "no, it trains", UNKNOWN, False),
    Deviation("its stem", "stem", UNKNOWN, "three 3x3 convolutions", UNKNOWN, "deep"),
    Deviation("rounding of the stem's max pool", "ceil_mode", UNKNOWN, "up", UNKNOWN, True),
    Deviation("channels of the auxiliary head", "aux_channels", UNKNOWN, "512", UNKNOWN, 512),
    Deviation(
        "normalisation of the pixels",
        "pixels",
        UNKNOWN,
        "Caffe's mean colour is subtracted",
        UNKNOWN,
        "caffe",
    ),
    Deviation("resizing of the logits", "align_corners", UNKNOWN, "corners aligned", UNKNOWN, True),
    Deviation("dropout in blocks and auxiliary head", "dropout", UNKNOWN, "0.05", UNKNOWN, 0.05),
)
RECIPE = {  # switch: about, and the key of the released code's value in published.yaml
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


def build_frame(settings: Params, published: measured.Published) -> pd.DataFrame:
    """Return a row for each choice."""
    profile = settings.active.model_dump(mode="json")
    recipe = _list_recipe(published["authors_recipe"].get(settings.active.dataset, {}))
    rows = [_build_row(settings, profile["network"], "network", d) for d in NETWORK]
    for d in OPTIONS:
        rows.append(_build_row(settings, profile["network"]["options"], "network.options", d))
    rows += [_build_row(settings, profile["train"], "train", d) for d in recipe]
    data = settings.data_title
    row = {"about": "data of the ablation", "switch": "dataset_dir", "paper": "Cityscapes"}
    same = "paper" if data == "cityscapes" else "not the paper's"
    rows.append(row | {"code": UNKNOWN, "here": data, "as": same})
    row = {"about": "random sampling", "switch": "none: `ann/sampling.py`", "code": UNKNOWN}
    rows.append(row | {"paper": "named, not spelled out", "here": RANDOM, "as": "our reading"})
    return pd.DataFrame(rows)[[column.key for column in COLUMNS]]


def _list_recipe(known: dict[str, Any]) -> list[Deviation]:
    """Return how the released code trains on these data; UNKNOWN if published.yaml has no value."""
    loss = known.get("loss", {})
    ohem = {"threshold": 0.7, "min_kept": 100000} if loss else UNKNOWN
    aux = 0.4 if loss else UNKNOWN
    weights = "Cityscapes' own" if loss.get("class_weights") else UNKNOWN
    values = {switch: _look_up(known, where) for switch, (_, where) in RECIPE.items()}
    values["optimizer.name"] = values["optimizer.name"].lower()
    if values["augment.crop"] != UNKNOWN:
        values["augment.crop"] = [values["augment.crop"]] * 2
    pixels, resized = "cross entropy of all pixels", "logits resized to the labels"
    return [
        Deviation("L_final", "loss.ohem", pixels, loss.get("final", UNKNOWN), None, ohem),
        Deviation("weight of L_Stage4", "loss.aux_weight", "0.4", str(aux), 0.4, aux),
        Deviation("class weights", "loss.class_weights", UNKNOWN, weights),
        Deviation("where the loss is taken", "loss.at_labels", resized, UNKNOWN, True),
        *(
            Deviation(RECIPE[switch][0], switch, UNKNOWN, _format_value(value), UNKNOWN, value)
            for switch, value in values.items()
        ),
    ]


def _look_up(values: Any, where: str) -> Any:
    """Return the value at `a.b`; UNKNOWN if there is none."""
    for key in where.split("."):
        values = values.get(key, UNKNOWN) if isinstance(values, dict) else UNKNOWN
    return values


def _build_row(
    settings: Params, values: dict[str, Any], where: str, d: Deviation
) -> dict[str, str]:
    value = _look_up(values, d.switch)
    choices = {"paper": d.paper_is, "code": d.code_is}
    choices = {side: choice for side, choice in choices.items() if choice != UNKNOWN}
    sides = [side for side, choice in choices.items() if choice == value]
    overrides = {
        name: override
        for name, variant in settings.variants.items()
        if where.startswith("network")
        and (override := _find_own(variant.model_dump(exclude_none=True), where, d.switch))
        is not None
    }
    return {
        "about": d.about,
        "switch": f"`{where}.{d.switch}`",
        "paper": d.paper,
        "code": d.code,
        "here": "; ".join(
            [_format_value(value), *(f"{n}: {_format_value(v)}" for n, v in overrides.items())]
        ),
        "as": " and ".join(sides) or _name_difference(list(choices)),
    }


def _name_difference(sides: list[str]) -> str:
    """Say of which side a choice is not."""
    return "neither" if len(sides) == 2 else f"not the {sides[0]}'s" if sides else UNKNOWN


def _find_own(variant: dict[str, Any], where: str, switch: str) -> Any:
    """Return the variant's own value of the switch; None if it has none."""
    return (variant.get("options", {}) if where.endswith("options") else variant).get(switch)


def _format_value(value: Any) -> str:
    """Return the value as params.yaml has it, on one line."""
    if value == UNKNOWN:
        return UNKNOWN
    text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("...\n").strip()


def build_code_section(settings: Params, variant: str, published: measured.Published) -> Section:
    """Return where a variant is not as the released code, with a link to the code's line."""
    alone = settings.model_copy(update={"variants": {}})
    profile = settings.active.model_dump(mode="json")
    network = settings.resolve_network(variant)
    recipe = _list_recipe(published["authors_recipe"].get(settings.active.dataset, {}))
    parts = (
        ("network", network, NETWORK),
        ("network.options", network["options"], OPTIONS),
        ("train", profile["train"], recipe),
    )
    rows = []
    for where, values, choices in parts:
        for d in choices:
            if d.code_is == UNKNOWN or _look_up(values, d.switch) == d.code_is:
                continue
            row = _build_row(alone, values, where, d)
            code = link_code(f"{where}.{d.switch}", d.code, settings.active.dataset)
            rows.append(row | {"code": code})
    columns = tuple(c for c in COLUMNS if c.key != "as")
    table = Table(pd.DataFrame(rows, columns=[c.key for c in columns]), columns)
    return Section("deviations", "Differences from the released code", table=table)


def explain_columns(settings: Params) -> str:
    return NOTE.format(profile=settings.profile)


def build_section(inputs: Inputs) -> Section:
    """Return the section of the table."""
    table = Table(build_frame(inputs.settings, inputs.published), COLUMNS)
    words = explain_columns(inputs.settings)
    file = TableFile("deviations", table, words, provenance.find_origin([]))
    return Section("deviations", "Deviations", table=table, notes=words, files=(file,))
