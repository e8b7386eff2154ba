"""Runs that fail: told in a sentence, kept beside the run's files, listed by the collect stage."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.common.cli import RunFailed
from pipeline.common.files import write_json
from pipeline.common.params import Params
from pipeline.common.paths import RunPaths

_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")


def settings_of(settings: Params, variant: str, stage: str) -> dict[str, Any]:
    """What params.yaml says of a variant at a stage; a failure under other settings is past."""
    profile = settings.active.model_dump(mode="json", include={"train", "evaluate"})
    if stage == "train":
        del profile["evaluate"]
    return {"network": settings.network(variant), **profile}


@contextmanager
def kept(paths: RunPaths, settings: Params, stage: str) -> Iterator[dict[str, Any]]:
    """Write why the run failed, if it does; remove that when it succeeds.

    What the block puts into the dictionary is written as well.
    """
    more: dict[str, Any] = {}
    try:
        yield more
    except RunFailed as error:
        failure = {
            "variant": paths.variant,
            "seed": paths.seed,
            "stage": stage,
            "reason": str(error),
            "at": error.at,
            "settings": settings_of(settings, paths.variant, stage),
        }
        with suppress(OSError):  # the reason itself is what must be told
            write_json(paths.failure, failure | more)
        raise
    paths.failure.unlink(missing_ok=True)


@contextmanager
def memory_told(what: Callable[[], tuple[str, int | None]]) -> Iterator[None]:
    """Turn a lack of memory into a RunFailed; `what` says who ran out, and at which iteration."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        lacks = isinstance(error, MemoryError) or any(w in str(error) for w in _NO_MEMORY)
        if not lacks:
            raise
        sentence, at = what()
        raise RunFailed(sentence, at) from None
