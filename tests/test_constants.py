"""Constants are made once for a device, and never outlive a trace."""

import pytest
import torch
from torch import Tensor

from ann import Sampler
from ann.constants import cached_on_device
from ann.pooling import averaging_matrix


@pytest.fixture
def made() -> list[tuple[int, torch.dtype]]:
    return []


def test_a_constant_is_made_once_for_the_same_arguments(
    made: list[tuple[int, torch.dtype]],
) -> None:
    def make(size: int, dtype: torch.dtype) -> Tensor:
        made.append((size, dtype))
        return torch.ones(size, dtype=dtype)

    get = cached_on_device(make)
    x = torch.zeros(1)
    first = get(x, 3, torch.float32)
    assert get(x, 3, torch.float32) is first
    assert get(x, 3, torch.float64) is not first
    assert made == [(3, torch.float32), (3, torch.float64)]


def test_whoever_records_the_computation_gets_a_constant_of_its_own() -> None:
    def make(size: int) -> Tensor:
        return torch.ones(size)

    get = cached_on_device(make)
    x = torch.zeros(3)
    kept = get(x, 3)
    seen: list[Tensor] = []

    def use(x: Tensor) -> Tensor:
        seen.append(get(x, 3))
        return x + seen[-1]

    torch.vmap(use)(torch.zeros(2, 3))
    torch.func.grad(lambda x: use(x).sum())(x)
    torch.jit.trace(use, x, check_trace=False)  # type: ignore[no-untyped-call]
    with torch.device("meta"):
        use(torch.zeros(3))
    assert len(seen) >= 4
    assert all(other is not kept for other in seen)
    assert get(x, 3) is kept


def test_a_constant_of_a_prediction_serves_a_training() -> None:
    sampler = Sampler("pyramid_average", [1, 2])
    shape = (1, 2, 13, 11)  # of no other test
    with torch.inference_mode():
        sampler([torch.ones(shape)])
    x = torch.ones(shape, requires_grad=True)
    sampler([x])[0].sum().backward()
    assert x.grad is not None
    matrix = averaging_matrix(13, (1, 2), x)
    assert not matrix.is_inference()
    assert matrix is averaging_matrix(13, (1, 2), x)
