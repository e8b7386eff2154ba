"""What was measured, by variant and seed, and the comparisons that the tables make."""

import json
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import ttest_1samp

from pipeline.common.scores import first

LEVEL = 0.05


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


def read(path: Path, variants: list[str]) -> Results:
    """The results by variant, seeds in order, as the collect stage wrote them."""
    found: Results = {variant: [] for variant in variants}
    for line in path.read_text().splitlines():
        values = json.loads(line)
        if values.get("variant") in found:
            found[values["variant"]].append(Result(**values))
    return found


def read_imported(path: Path) -> dict[str, dict[str, Any]]:
    """The scores and records of the imported checkpoints by name, from the same file."""
    lines = map(json.loads, path.read_text().splitlines())
    return {values["checkpoint"]: values for values in lines if "checkpoint" in values}


def mean(results: list[Result]) -> float:
    """The mean mIoU over the seeds; nan without a run."""
    return float(np.mean([r.miou for r in results])) if results else float("nan")


def spread(results: list[Result]) -> float:
    """The standard deviation over the seeds (n - 1); nan below two."""
    return float(np.std([r.miou for r in results], ddof=1)) if len(results) > 1 else float("nan")


def differences(results: list[Result], base: list[Result]) -> list[float]:
    """mIoU minus that of `base`, for each seed that both have."""
    other = {r.seed: r.miou for r in base}
    return [r.miou - other[r.seed] for r in results if r.seed in other]


def told_apart(a: list[Result], b: list[Result]) -> bool:
    """Whether a paired t-test over the seeds that both have finds p < 0.05."""
    values = differences(a, b)
    if len(values) < 2 or not any(values):
        return False
    if np.ptp(values) == 0:
        return True
    return bool(ttest_1samp(values, 0.0).pvalue < LEVEL)


def not_told_apart(results: Results, rows: list[str]) -> list[tuple[str, str]]:
    """The pairs of measured rows that the seeds do not separate."""
    measured = [row for row in rows if results[row]]
    return [(a, b) for a, b in combinations(measured, 2) if not told_apart(results[a], results[b])]
