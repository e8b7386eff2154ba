"""What was measured, by variant and seed, and the comparisons that the tables make."""

import json
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Result:
    """One variant with one seed: its scores and where they come from."""

    variant: str
    seed: int
    scores: dict[str, Any]
    record: dict[str, Any]

    @property
    def miou(self) -> float:
        """In percent."""
        return 100 * float(self.scores["miou"])


Results = dict[str, list[Result]]


def read(path: Path, variants: list[str]) -> Results:
    """The results by variant, seeds in order, as the collect stage wrote them."""
    found: Results = {variant: [] for variant in variants}
    for line in path.read_text().splitlines():
        result = Result(**json.loads(line))
        if result.variant in found:
            found[result.variant].append(result)
    return found


def mean(results: list[Result]) -> float:
    """The mean mIoU over the seeds; nan without a run."""
    return float(np.mean([r.miou for r in results])) if results else float("nan")


def spread(results: list[Result]) -> float:
    """The standard deviation over the seeds (n - 1); nan below two."""
    return float(np.std([r.miou for r in results], ddof=1)) if len(results) > 1 else float("nan")


def difference(results: list[Result], base: list[Result]) -> float:
    """The mean difference to `base` over the seeds that both have; nan without one."""
    other = {r.seed: r.miou for r in base}
    pairs = [r.miou - other[r.seed] for r in results if r.seed in other]
    return float(np.mean(pairs)) if pairs else float("nan")


def told_apart(a: list[Result], b: list[Result]) -> bool:
    """Whether all seeds of one lie above all seeds of the other, with two seeds or more each."""
    x, y = [r.miou for r in a], [r.miou for r in b]
    return min(len(x), len(y)) > 1 and (min(x) > max(y) or min(y) > max(x))


def not_told_apart(results: Results, rows: list[str]) -> list[tuple[str, str]]:
    """The pairs of measured rows that the seeds do not separate."""
    measured = [row for row in rows if results[row]]
    return [(a, b) for a, b in combinations(measured, 2) if not told_apart(results[a], results[b])]
