"""What a block, a sampler or a dataset says when it refuses something."""

from collections.abc import Callable


def find_refusal(work: Callable[[], object], kind: type[Exception] = ValueError) -> str:
    """Return the sentence of a refusal; empty if there is none."""
    try:
        work()
    except kind as error:
        return str(error)
    return ""
