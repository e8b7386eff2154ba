"""What is measured in a fusion block, in closed form, and the figure in docs/."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from ann import BlockOptions, NonLocalBlock, Sampler
from pipeline.commands import fusion as command
from pipeline.scoring.fusion import Moments, observe, replace_context, take_image_mean
from tests.conftest import ROOT

C, C_LOW, K = 6, 4, 5


def make_block(**options: object) -> NonLocalBlock:
    torch.manual_seed(0)
    block = NonLocalBlock(
        C,
        low_channels=C_LOW,
        key_channels=K,
        value_channels=K,
        sampler=Sampler("pyramid_average", [1, 2]),
        options=BlockOptions(form="plain", **options),  # type: ignore[arg-type]
        relu=False,
    )
    return block.double().eval().requires_grad_(False)


def maps() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(3, C, 4, 6).double(), torch.randn(3, C_LOW, 4, 6).double()


def test_moments_are_those_of_all_positions() -> None:
    values = torch.randn(5, C, 4, 6)
    moments = Moments()
    for part in values.split(2):
        moments.add(part)
    flat = values.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(moments.mean, flat.mean(1))
    torch.testing.assert_close(moments.variance, flat.var(1, correction=0))
    within = values.double().var((2, 3), correction=0).mean(0)
    torch.testing.assert_close(moments.variance_within, within)


@pytest.mark.parametrize("output", ["concat", "residual"])
def test_the_ratio_is_of_the_two_parts_of_the_sum(output: str) -> None:
    block, (x, low) = make_block(output=output), maps()
    with observe(block) as use:
        seen = block(x, low)
    torch.testing.assert_close(block(x, low), seen)  # it changes nothing
    first = use.ratio
    for parameter in block.output.parameters():
        parameter.data *= 3  # the context is linear in W_o and its bias
    with observe(block) as use:
        block(x, low)
    assert use.ratio == pytest.approx(3 * first)
    assert 0 < use.within <= 1


def test_equal_weights_use_all_anchors_and_carry_one_context() -> None:
    block, (x, low) = make_block(), maps()
    for parameter in block.query.parameters():
        nn.init.zeros_(parameter)
    with observe(block) as use:
        y = block(x, low)
    assert use.anchors_used == pytest.approx(5)  # 1 + 4, all the same
    assert use.within == pytest.approx(0, abs=1e-9)
    with replace_context(block, take_image_mean):
        torch.testing.assert_close(block(x, low), y)


def test_a_replaced_context_is_what_the_fusion_gets() -> None:
    block, (x, low) = make_block(output="residual"), maps()
    with replace_context(block, torch.zeros_like):
        torch.testing.assert_close(block(x, low), x)
    assert not torch.allclose(block(x, low), x)


def test_the_figure_in_the_documentation_is_of_its_data(tmp_path: Path) -> None:
    data = ROOT / "docs/afnb.csv"
    command.write(pd.read_csv(data), tmp_path / "afnb")
    for name in ("afnb.csv", "afnb.svg"):
        assert (tmp_path / name).read_bytes() == (ROOT / "docs" / name).read_bytes()
