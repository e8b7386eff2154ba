"""scores.json as its readers see it: the scores of each protocol of evaluation, in their order."""

from typing import Any


def first(scores: dict[str, Any]) -> dict[str, Any]:
    """The scores that stand in the tables: those of the first protocol of params.yaml."""
    result: dict[str, Any] = next(iter(scores["protocols"].values()))
    return result
