"""Check the settings of the files in the folder `contexts`, and digest their code."""

from inspect import signature
from typing import Any

from pydantic import ValidationError, create_model

import contexts
from pipeline.engine.errors import InputError, describe_invalid
from pipeline.engine.source import digest_of
from pipeline.settings.code import ROOT
from pipeline.settings.fields import Strict
from pipeline.settings.schema import Params


def digest_code(context: str) -> dict[str, str]:
    """Return a context's file and its digest; empty for the contexts that are in `ann`."""
    if context not in contexts.names():
        return {}
    file = contexts.FOLDER / f"{context}.py"
    return {file.as_posix(): digest_of(ROOT / file)}


def check_contexts(params: Params) -> None:
    """Raise an InputError for a setting that a variant's context does not take."""
    for variant, own in params.variants.items():
        network = params.resolve_network(variant)
        if "settings" not in network:
            continue
        homes = dict.fromkeys(own.settings or {}, f"variants.{variant}.settings")
        profile = f"profiles.{params.profile}.network.contexts.{own.context}"
        _check_settings(own.context, network["settings"], homes, profile)


def _check_settings(
    context: str, settings: dict[str, Any], homes: dict[str, str], other: str
) -> None:
    """Check each setting against the annotation of its keyword argument.

    Args:
        context: The name of a file of contexts/.
        settings: What params.yaml passes to it.
        homes: The key of params.yaml that has each of the variant's own settings.
        other: The key of params.yaml that has all other settings.
    """
    arguments: dict[str, Any] = {
        p.name: (p.annotation, ... if p.default is p.empty else p.default)
        for p in signature(contexts.load(context).Context).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    }
    try:
        create_model("Settings", __base__=Strict, **arguments).model_validate(settings)
    except ValidationError as error:
        home = homes.get(str(error.errors()[0]["loc"][0]), other)
        raise InputError(f"params.yaml: {home}.{describe_invalid(error)}") from None
