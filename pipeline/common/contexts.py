"""The files of the folder `contexts` as params.yaml names them: their code, settings and maps."""

from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError, create_model

import contexts
from pipeline.common.cli import InputError, sentence
from pipeline.common.files import code_digest, read_json

if TYPE_CHECKING:
    from pipeline.common.params import Params

SETTINGS = Path("data/settings/contexts")  # a file for each variant: what it takes from contexts/
PAPERS = ("none", "nb", "apnb")  # the contexts that are in `ann`


def code_of(context: str) -> list[Path]:
    """The file of a context; none for the paper's, which are in `ann`."""
    return [contexts.FOLDER / f"{context}.py"] if context in contexts.names() else []


def by_variant(params: "Params", variant: str) -> dict[str, Any]:
    """What a training depends on beyond `ann`: empty for the paper's contexts."""
    network = params.network(variant)
    if "settings" not in network:
        return {}
    found = {name: network[name] for name in ("context", "settings")}
    return found | {"code": code_digest(code_of(network["context"]))}


def require_checked(params: "Params", variant: str) -> None:
    """Refuse what the check stage has not seen: DVC knows only what it saw."""
    file = SETTINGS / f"{variant}.json"
    if not file.exists() or read_json(file) != by_variant(params, variant):
        raise InputError(f"{file} is not of this code; run `dvc repro check` first")


def refuse_wrong(params: "Params") -> None:
    """Settings that a context does not take, and feature maps too small for it, are InputErrors."""
    from pipeline.common.combinations import feature_maps

    for variant, own in params.variants.items():
        network = params.network(variant)
        if "settings" not in network:
            continue
        homes = dict.fromkeys(own.settings or {}, f"variants.{variant}.settings")
        profile = f"profiles.{params.profile}.network.contexts.{own.context}"
        _check_settings(own.context, network["settings"], homes, profile)
        for what, image, size in feature_maps(params):
            where = f"for a {what} of {image[0]}x{image[1]}"
            try_map(f"variants.{variant}", network, size, where)


def _check_settings(
    context: str, settings: dict[str, Any], homes: dict[str, str], other: str
) -> None:
    """Each setting against the annotation of the keyword argument it is for."""
    from pipeline.common.params import Strict

    wanted: dict[str, Any] = {
        p.name: (p.annotation, ... if p.default is p.empty else p.default)
        for p in signature(contexts.load(context).Context).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    }
    try:
        create_model("Settings", __base__=Strict, **wanted).model_validate(settings)
    except ValidationError as error:
        home = homes.get(str(error.errors()[0]["loc"][0]), other)
        raise InputError(f"params.yaml: {home}.{sentence(error)}") from None


def try_map(key: str, network: dict[str, Any], size: tuple[int, int], where: str) -> None:
    """An InputError if the network's context refuses its settings or a map of this size."""
    import torch

    from ann import BlockOptions

    made, options = contexts.load(network["context"]).Context, BlockOptions(**network["options"])
    try:
        with torch.device("meta"):  # shapes alone, whatever their size
            x = torch.zeros(1, network["channels"], *size)
            y = made(network["channels"], options, **network["settings"]).eval()(x)
    except ValueError as error:
        raise InputError(f"{key}: {error} ({where})") from None
    if y.shape != x.shape:
        raise InputError(
            f"{key}: context {network['context']} turns a map {tuple(x.shape)} into "
            f"{tuple(y.shape)}; allowed is the same shape"
        )
