"""The contract of a sampler: maps (B, C, H, W) become anchors (B, C, S)."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ann import Sampler, anchors
from ann.sampling import SAMPLINGS
from tests.contract.refusals import find_refusal

NAMES = SAMPLINGS
Make = Callable[[], Sampler]


def find_sizes(name: str) -> list[int]:
    """Return pool sizes that the method takes."""
    return [1, 2, 3] if name.startswith("pyramid_") else [3]


def make(name: str) -> Sampler:
    return Sampler(name, find_sizes(name))


def make_map(batch: int = 3, height: int = 7, width: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 4, height, width, generator=generator, dtype=torch.float64)


def check_count(make: Make) -> None:
    """It gives S = sum of n^2 anchors, of the map's number type, from odd maps too."""
    sampler = make()
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for size in ((7, 5), (3, 3), (16, 8)):
            (found,) = sampler([make_map(3, *size).to(dtype)])
            wanted = (3, 4, anchors(sampler.pool_sizes))
            assert tuple(found.shape) == wanted, f"must be {wanted}, got {tuple(found.shape)}"
            assert found.dtype == dtype, f"the number type must be {dtype}, got {found.dtype}"


def check_constant(make: Make) -> None:
    """The anchors of a constant map are that constant."""
    (found,) = make()([torch.full((2, 4, 7, 5), 3.5, dtype=torch.float64)])
    assert (found - 3.5).abs().max() < 1e-12, "a constant map has other anchors"


def check_same_places(make: Make) -> None:
    """Two maps are sampled at the same places."""
    x = make_map()
    ids = torch.arange(3)
    first, second = make().train()([x, 2 * x], ids)
    assert (second - 2 * first).abs().max() < 1e-12, "two maps are sampled at other places"


def check_linear(make: Make) -> None:
    """`linear` says whether sampling and a 1x1 convolution may change places."""
    sampler, x = make().train(), make_map()
    ids = torch.arange(3)
    weight = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before = sampler([torch.einsum("dc,bchw->bdhw", weight, x)], ids)[0]
    after = torch.einsum("dc,bcs->bds", weight, sampler([x], ids)[0])
    same = bool((before - after).abs().max() < 1e-12)
    assert same == sampler.linear, f"linear is {sampler.linear}, but the places say {same}"


def check_ids(make: Make) -> None:
    """What it draws depends on the samples' ids alone, and on no global random numbers."""
    sampler, x = make().train(), make_map()
    state = torch.get_rng_state()
    whole = sampler([x], torch.tensor([5, 6, 7]))[0]
    assert torch.equal(state, torch.get_rng_state()), "it draws global random numbers"
    alone = sampler([x[1:2]], torch.tensor([6]))[0]
    assert torch.equal(whole[1:2], alone), "a sample alone is sampled at other places"


def check_gradients(make: Make) -> None:
    """Gradients reach the map."""
    x = make_map().requires_grad_()
    make().train()([x], torch.arange(3))[0].square().sum().backward()
    assert x.grad is not None, "the map gets no gradient"
    assert x.grad.any(), "the gradient of the map is zero"


def check_boxes(make: Make) -> None:
    """`boxes` has a box inside the map for each anchor."""
    sampler = make()
    boxes = sampler.boxes(7, 5)
    assert tuple(boxes.shape) == (anchors(sampler.pool_sizes), 4), "a box is missing"
    top, bottom, left, right = boxes.T
    ends = torch.stack([top, left, 7 - bottom, 5 - right])
    assert (ends >= 0).all(), "a box is not inside the map"
    assert (torch.stack([bottom - top, right - left]) > 0).all(), "a box is empty"


def check_refusals(make: Make) -> None:
    """Pool sizes below 1, and none, are refused."""
    for wrong in ([], [0], [-1]):
        work = partial(Sampler, make().sampling, wrong)
        assert find_refusal(work), f"it takes the pool sizes {wrong}"


CHECKS = (
    check_count,
    check_constant,
    check_same_places,
    check_linear,
    check_ids,
    check_gradients,
    check_boxes,
    check_refusals,
)
