"""The samplers against torch's adaptive pooling and their own definition."""

import pytest
import torch
import torch.nn.functional as F

from ann import SAMPLINGS, Sampler, anchors
from ann.noise import Dropout2d, uniform
from ann.pooling import bin_edges

PAPER = (1, 3, 6, 8)


def bins(size: int, n: int) -> list[tuple[int, int]]:
    start, end = bin_edges(size, n)
    return list(zip(start.tolist(), end.tolist(), strict=True))


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 17), (97, 13)])
def test_the_number_of_anchors_is_the_sum_of_squares(
    sampling: str, height: int, width: int
) -> None:
    sizes = PAPER if sampling.startswith("pyramid_") else (8,)
    maps = [torch.randn(2, c, height, width) for c in (3, 5)]
    sampled = Sampler(sampling, sizes)(maps, torch.tensor([1, 2]))
    assert [s.shape for s in sampled] == [(2, 3, anchors(sizes)), (2, 5, anchors(sizes))]
    assert anchors(PAPER) == 110
    assert (anchors([1, 2, 3, 6]), anchors([1, 4, 8, 12]), anchors([15])) == (50, 225, 225)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pooling_is_adaptive_pooling(layout: torch.memory_format) -> None:
    x = torch.randn(2, 3, 11, 19, dtype=torch.float64).to(memory_format=layout)
    for sampling, pool in (
        ("pyramid_average", F.adaptive_avg_pool2d),
        ("pyramid_max", F.adaptive_max_pool2d),
    ):
        expected = torch.cat([pool(x, n).flatten(2) for n in PAPER], dim=2)
        torch.testing.assert_close(Sampler(sampling, PAPER)([x])[0], expected)


def positions(sampler: Sampler, sample_ids: torch.Tensor, height: int, width: int) -> torch.Tensor:
    grid = torch.arange(height * width).view(1, 1, height, width).expand(len(sample_ids), 1, -1, -1)
    one, two = sampler([grid, grid], sample_ids)
    assert torch.equal(one, two)  # key and value are sampled at the same places
    return one[:, 0]


def test_random_draws_distinct_positions_from_everywhere() -> None:
    found = positions(Sampler("random", [15]).train(), torch.arange(200), 16, 32)
    assert all(len(set(row.tolist())) == 225 for row in found)
    counts = torch.bincount(found.flatten(), minlength=512)
    expected = 200 * 225 / 512
    assert (counts - expected).abs().max() < 6 * expected**0.5


def test_pyramid_random_draws_one_position_in_each_bin() -> None:
    height, width = 16, 33
    found = positions(Sampler("pyramid_random", PAPER).train(), torch.arange(50), height, width)
    boxes = [
        (rows, columns) for n in PAPER for rows in bins(height, n) for columns in bins(width, n)
    ]
    for anchor, ((top, bottom), (left, right)) in enumerate(boxes):
        row, column = found[:, anchor] // width, found[:, anchor] % width
        assert bool(((row >= top) & (row < bottom)).all())
        assert bool(((column >= left) & (column < right)).all())
        if (bottom - top) * (right - left) > 1:
            assert len(found[:, anchor].unique()) > 1


@pytest.mark.parametrize("sampling", ["random", "pyramid_random"])
def test_random_places_belong_to_the_sample_and_not_to_the_batch(sampling: str) -> None:
    sampler, x = Sampler(sampling, [6]).train(), torch.randn(3, 4, 12, 12)
    sample_ids = torch.tensor([5, 6, 7])
    together = sampler([x], sample_ids)[0]
    alone = torch.cat([sampler([x[i : i + 1]], sample_ids[i : i + 1])[0] for i in range(3)])
    assert torch.equal(together, alone)
    assert not torch.equal(together, sampler([x], sample_ids + 1)[0])
    sampler.eval()
    assert torch.equal(sampler([x], sample_ids)[0], sampler([x], None)[0])  # evaluation repeats


def test_uniform_is_uniform_and_its_streams_differ() -> None:
    u = uniform(torch.arange(1000), 3, 100).double()
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 0.005
    assert abs(u.var() - 1 / 12) < 0.002
    v = uniform(torch.arange(1000), 4, 100).double()
    assert abs(torch.corrcoef(torch.stack([u.flatten(), v.flatten()]))[0, 1]) < 0.01
    neighbours = torch.corrcoef(torch.stack([u[:-1].flatten(), u[1:].flatten()]))[0, 1]
    assert abs(neighbours) < 0.01


def test_dropout_keeps_the_mean_and_drops_whole_channels() -> None:
    drop = Dropout2d(0.25, stream=1).train()
    out = drop(torch.ones(400, 50, 2, 2), torch.arange(400))
    assert out.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert abs(out.mean() - 1) < 0.02
    assert torch.equal(out.amax((2, 3)), out.amin((2, 3)))
    with pytest.raises(ValueError, match="sample_ids"):
        drop(torch.ones(1, 2, 2, 2), None)


@pytest.mark.parametrize(
    ("sampling", "sizes", "message"),
    [
        ("median", [3], "sampling must be one of random, max"),
        ("average", [], "sizes of 1 or more, got \\[\\]"),
        ("average", [0], "sizes of 1 or more"),
        ("average", [3, 6], "must be one size for average"),
    ],
)
def test_impossible_samplers_are_refused(sampling: str, sizes: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampler(sampling, sizes)


def test_maps_smaller_than_the_pool_sizes_are_pooled_as_adaptive_pooling_does() -> None:
    """As the released code does; only `random` runs out of positions."""
    for size in ((7, 20), (7, 7), (1, 1), (3, 9)):
        x = torch.randn(2, 3, *size, dtype=torch.float64)
        for sampling, pool in (
            ("pyramid_average", F.adaptive_avg_pool2d),
            ("pyramid_max", F.adaptive_max_pool2d),
        ):
            expected = torch.cat([pool(x, n).flatten(2) for n in PAPER], dim=2)
            torch.testing.assert_close(Sampler(sampling, PAPER)([x])[0], expected)
        assert Sampler("pyramid_random", PAPER)([x])[0].shape == (2, 3, 110)
    assert Sampler("random", [6])([torch.zeros(1, 1, 4, 9)])[0].shape == (1, 1, 36)
    with pytest.raises(ValueError, match=r"must draw at most 35 positions"):
        Sampler("random", [6])([torch.zeros(1, 1, 5, 7)])


def test_only_random_sampling_needs_as_many_positions_as_it_draws() -> None:
    Sampler("pyramid_average", PAPER).check(7, 20)
    Sampler("random", [2]).check(2, 2)
    with pytest.raises(ValueError, match=r"pool_sizes must draw at most 4 positions"):
        Sampler("random", [3]).check(2, 2)
