"""What was measured, by variant and seed, and which runs failed."""

from collections.abc import Iterable

import numpy as np

from pipeline.settings.records import CheckpointLine, FailureLine, Line, RunLine

Results = dict[str, list[RunLine]]


def group_runs(lines: Iterable[Line], variants: Iterable[str]) -> Results:
    """Return the runs of each variant, in the order of the lines."""
    runs: Results = {variant: [] for variant in variants}
    for line in lines:
        if isinstance(line, RunLine) and line.variant in runs:
            runs[line.variant].append(line)
    return runs


def list_checkpoints(lines: Iterable[Line]) -> dict[str, CheckpointLine]:
    """Return the imported checkpoints by name."""
    return {line.checkpoint: line for line in lines if isinstance(line, CheckpointLine)}


def list_failures(lines: Iterable[Line]) -> list[FailureLine]:
    """Return the runs that failed."""
    return [line for line in lines if isinstance(line, FailureLine)]


def mean(results: list[RunLine]) -> float:
    """Return the mean mIoU over the seeds; nan without a run."""
    return float(np.mean([r.miou for r in results])) if results else float("nan")


def spread(results: list[RunLine]) -> float:
    """Return the standard deviation over the seeds (n - 1); nan below two."""
    return float(np.std([r.miou for r in results], ddof=1)) if len(results) > 1 else float("nan")


def by_seed(results: list[RunLine]) -> dict[int, float]:
    """Return mIoU by seed."""
    return {r.seed: r.miou for r in results}
