"""Every block, sampler and dataset, or the one that is named, keeps its contract."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.data.formats import DATASETS
from tests.contract import blocks, datasets, samplers
from tests.trees import TREES

KINDS = {"block": blocks, "sampler": samplers, "dataset": datasets}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize each test by its checks and by the names of the command line."""
    kind = next(k for k in KINDS if k in metafunc.fixturenames)
    chosen = {k: metafunc.config.getoption(f"--{k}") for k in KINDS}
    names = KINDS[kind].NAMES
    if chosen[kind] is not None and chosen[kind] not in names:
        raise pytest.UsageError(f"--{kind} must be one of {', '.join(names)}, got {chosen[kind]!r}")
    if any(chosen.values()):
        names = [chosen[kind]] if chosen[kind] else []
    metafunc.parametrize(kind, names)
    if "check" in metafunc.fixturenames:
        checks = KINDS[kind].CHECKS
        metafunc.parametrize("check", checks, ids=[c.__name__[6:] for c in checks])


def test_block(block: str, check: Callable[[blocks.Make], None]) -> None:
    torch.manual_seed(0)
    check(partial(blocks.make, block))


def test_block_settings(block: str) -> None:
    blocks.check_settings(block)


def test_sampler(sampler: str, check: Callable[[samplers.Make], None]) -> None:
    check(partial(samplers.make, sampler))


def test_dataset(dataset: str, check: Callable[[Any, Path], None], tmp_path: Path) -> None:
    if dataset not in TREES:
        pytest.fail(f"tests/trees.py has no tiny tree of {dataset}; add one to TREES")
    check(DATASETS[dataset], TREES[dataset](tmp_path / "source"))
