"""The files of the folder `contexts` as params.yaml names them: their code and settings."""

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
    """Raise an InputError for a setting that a variant's context does not take."""
    for variant, own in params.variants.items():
        network = params.network(variant)
        if "settings" not in network:
            continue
        homes = dict.fromkeys(own.settings or {}, f"variants.{variant}.settings")
        profile = f"profiles.{params.profile}.network.contexts.{own.context}"
        _check_settings(own.context, network["settings"], homes, profile)


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
