"""Verify says identical, within or outside, and what is not as it was committed."""

import pytest

from pipeline.commands.verify import EARLY, FAR, NEAR, measure_differences
from tests.conftest import Clone

CURVE = {i: 3 * 0.99**i for i in range(4, 324, 4)}  # as committed, a row every fourth iteration


def test_the_band_is_of_the_early_losses_and_of_the_mean_at_the_end() -> None:
    assert measure_differences(CURVE, CURVE) == (0, 0)
    for start, stop, by, expected in (
        (0, EARLY, 2 * NEAR, (2 * NEAR, 0)),
        (EARLY, 2 * EARLY, 9.0, (0, 0)),  # the course between them is another on any machine
        (288, 320, 2 * FAR, (0, 2 * FAR)),
        (288, 320, -2 * FAR, (0, 2 * FAR)),
    ):
        other = {i: v * (1 + by * (start < i <= stop)) for i, v in CURVE.items()}
        assert measure_differences(CURVE, other) == pytest.approx(expected)


@pytest.fixture(scope="module")
def verified(clone: Clone) -> Clone:
    """A clone with a committed run, and nothing else that it was made from."""
    for words in ("check", "scene", "prepare", "train ann 0", "evaluate ann 0", "collect"):
        stage, *run = words.split()
        clone.run("python", "-m", "pipeline", stage, *run)
    clone.run("git", "add", "reports")
    clone.run("git", "commit", "--quiet", "--message", "results")
    clone.run("rm", "-r", "weights", "runs", "data")
    return clone


def test_the_same_machine_and_code_give_the_same_bits(verified: Clone) -> None:
    told = verified.run("python", "-m", "pipeline", "verify")
    assert "ann-0: identical; the weights and 6 losses, bit for bit" in told
    assert "settings, data, code and machine are equal" in told
    assert not any((verified.path / name).exists() for name in ("weights", "runs", "data"))


def test_other_threads_are_told_and_another_rate_is_outside(verified: Clone) -> None:
    verified.edit("profile: embedded", "profile: camvid")  # which has no data here, and needs none
    verified.edit("dataset_dir: data/embedded", "dataset_dir: data/none")
    verified.edit("      threads: 1\n      optimizer", "      threads: 2\n      optimizer")
    told = verified.run("python", "-m", "pipeline", "verify", "ann", "0")
    assert "config.train.threads: committed 1, here 2" in told
    assert "ann-0: identical" in told or "ann-0: within the band; losses of the first" in told

    verified.edit("lr: 0.003", "lr: 0.006")
    with (verified.path / "ann/blocks.py").open("a", encoding="utf-8") as file:
        file.write("\nOTHER = 1\n")
    told = verified.run("python", "-m", "pipeline", "verify", "ann", "0", ok=False)
    assert "config.train.optimizer.lr: committed 0.003, here 0.006" in told
    assert "code of the training: committed " in told
    assert "error: ann-0: outside the band; losses of the first 20 iterations are up to " in told

    told = verified.run("python", "-m", "pipeline", "verify", "nb", "0", ok=False)
    assert "embedded.jsonl has no run nb 0 of the embedded profile; it has ann 0" in told
