"""Batch norm over all processes; among one process it is PyTorch's batch norm."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ann.sync_norm import SyncBatchNorm2d, synchronise


@pytest.fixture(autouse=True)
def _one_process() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def trained(norm: nn.Module, steps: int = 3) -> list[Tensor]:
    """Return outputs, gradients and statistics of some steps, and the output in evaluation."""
    generator = torch.manual_seed(0)
    found = []
    for step in range(steps):
        x = torch.randn(2, 5, 4, 3, dtype=torch.float64, generator=generator) * (step + 2) + step
        y = norm(x.requires_grad_())
        y.pow(3).sum().backward()
        assert x.grad is not None
        found += [y, x.grad, *(t.clone() for t in norm.buffers())]
    found += [p.grad for p in norm.parameters()]
    return [*found, norm.eval()(torch.ones(1, 5, 2, 2, dtype=torch.float64))]


@pytest.mark.parametrize(
    "settings",
    [{}, {"momentum": None}, {"momentum": 0.3, "eps": 0.1}, {"affine": False}],
    ids=str,
)
def test_one_process_has_the_statistics_of_pytorchs_batch_norm(settings: dict[str, Any]) -> None:
    model = nn.Sequential(nn.BatchNorm2d(5, **settings).double())
    for value in model.parameters():
        nn.init.normal_(value, generator=torch.manual_seed(3))
    expected = nn.BatchNorm2d(5, **settings).double()
    expected.load_state_dict(model[0].state_dict())
    found = synchronise(model)[0]  # type: ignore[index]
    assert type(found) is SyncBatchNorm2d
    torch.testing.assert_close(trained(found), trained(expected), rtol=1e-9, atol=1e-11)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_on_cuda_it_is_pytorchs(dtype: torch.dtype) -> None:
    """The same kernels give the same bits, and the host never waits."""
    dist.destroy_process_group()
    dist.init_process_group("nccl", store=dist.HashStore(), rank=0, world_size=1)
    torch.manual_seed(0)
    x = torch.randn(2, 5, 4, 3, device="cuda", dtype=dtype) * 3 + 2
    theirs = nn.SyncBatchNorm(5).cuda()
    nn.init.normal_(theirs.weight)
    ours = nn.BatchNorm2d(5).cuda()
    ours.load_state_dict(theirs.state_dict())
    found = []
    for norm in (theirs, synchronise(ours)):
        own = x.clone().requires_grad_()
        y = norm(own)
        y.pow(2).sum().backward()
        found.append([y, own.grad, *(p.grad for p in norm.parameters()), *norm.buffers()])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)
