"""What was measured, by variant and seed, and which runs failed."""

from pathlib import Path

import numpy as np

from pipeline.settings.records import CheckpointLine, FailureLine, Line, RunLine, read_lines

Results = dict[str, list[RunLine]]


def _read(path: Path) -> list[Line]:
    return read_lines(path.read_text(encoding="utf-8"), path)


def read(path: Path, variants: list[str]) -> Results:
    """The results by variant, seeds in order, as the collect stage wrote them."""
    found: Results = {variant: [] for variant in variants}
    for line in _read(path):
        if isinstance(line, RunLine) and line.variant in found:
            found[line.variant].append(line)
    return found


def read_imported(path: Path) -> dict[str, CheckpointLine]:
    """The scores and records of the imported checkpoints by name, from the same file."""
    return {line.checkpoint: line for line in _read(path) if isinstance(line, CheckpointLine)}


def read_failed(path: Path) -> list[FailureLine]:
    """The runs that failed, from the same file."""
    return [line for line in _read(path) if isinstance(line, FailureLine)]


def mean(results: list[RunLine]) -> float:
    """The mean mIoU over the seeds; nan without a run."""
    return float(np.mean([r.miou for r in results])) if results else float("nan")


def spread(results: list[RunLine]) -> float:
    """The standard deviation over the seeds (n - 1); nan below two."""
    return float(np.std([r.miou for r in results], ddof=1)) if len(results) > 1 else float("nan")


def by_seed(results: list[RunLine]) -> dict[int, float]:
    """mIoU by seed."""
    return {r.seed: r.miou for r in results}
