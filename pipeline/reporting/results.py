"""What was measured, by variant and seed, and which runs failed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.common.scores import first


@dataclass(frozen=True)
class Result:
    """One variant with one seed: its scores and where they come from."""

    variant: str
    seed: int
    scores: dict[str, Any]
    record: dict[str, Any]

    @property
    def miou(self) -> float:
        """In percent, by the first protocol."""
        return 100 * float(first(self.scores)["miou"])


Results = dict[str, list[Result]]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    return map(json.loads, path.read_text(encoding="utf-8").splitlines())


def read(path: Path, variants: list[str]) -> Results:
    """The results by variant, seeds in order, as the collect stage wrote them."""
    found: Results = {variant: [] for variant in variants}
    for values in _lines(path):
        if values.get("variant") in found:
            found[values["variant"]].append(Result(**values))
    return found


def read_imported(path: Path) -> dict[str, dict[str, Any]]:
    """The scores and records of the imported checkpoints by name, from the same file."""
    return {values["checkpoint"]: values for values in _lines(path) if "checkpoint" in values}


@dataclass(frozen=True)
class Failure:
    """A run without a score: at which stage it ended, and why."""

    variant: str
    seed: int
    stage: str
    reason: str


def read_failed(path: Path) -> list[Failure]:
    """The runs that failed, from the same file."""
    return [
        Failure(v["failed"], v["seed"], v["stage"], v["reason"])
        for v in _lines(path)
        if "failed" in v
    ]


def mean(results: list[Result]) -> float:
    """The mean mIoU over the seeds; nan without a run."""
    return float(np.mean([r.miou for r in results])) if results else float("nan")


def spread(results: list[Result]) -> float:
    """The standard deviation over the seeds (n - 1); nan below two."""
    return float(np.std([r.miou for r in results], ddof=1)) if len(results) > 1 else float("nan")


def by_seed(results: list[Result]) -> dict[int, float]:
    """mIoU by seed."""
    return {r.seed: r.miou for r in results}
