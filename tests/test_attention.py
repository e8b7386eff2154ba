"""The attention that is shown is the one that the block computes."""

import pytest
import torch
from torch import Tensor

from ann import (
    NORMALIZATIONS,
    SAMPLINGS,
    BlockOptions,
    NonLocalBlock,
    Sampler,
    SegmentationNetwork,
    attention,
    network_attention,
    plain,
)

B, C, LOW, K, H, W = 2, 12, 8, 4, 9, 11


def block(sampling: str | None, low: int | None, **options: object) -> NonLocalBlock:
    torch.manual_seed(0)
    pools = [1, 2, 4] if (sampling or "").startswith("pyramid") else [3]
    made = NonLocalBlock(
        C,
        key_channels=K,
        value_channels=K,
        low_channels=low,
        sampler=Sampler(sampling, pools) if sampling else None,
        options=BlockOptions(scale=True, output="residual", **options),  # type: ignore[arg-type]
    )
    return made.double().eval()


def maps(low: int | None) -> list[Tensor]:
    draw = torch.Generator().manual_seed(1)
    channels = [C] if low is None else [C, low]
    return [torch.randn(B, c, H, W, dtype=torch.float64, generator=draw) for c in channels]


@pytest.mark.parametrize("low", [None, LOW])
@pytest.mark.parametrize("sampling", [None, *SAMPLINGS])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_attention_times_values_is_what_the_fast_block_adds(
    normalization: str, sampling: str | None, low: int | None
) -> None:
    made, given = block(sampling, low, normalization=normalization), maps(low)
    weights = attention(made, *given).weights  # (B, N, S)
    _, _, value = plain.embed(made.get_layers(), given[0], given[-1], None)
    context = (weights @ value.transpose(1, 2)).transpose(1, 2).unflatten(2, (H, W))
    torch.testing.assert_close(made(*given), made.output(context) + given[0])
    if normalization == "softmax":
        torch.testing.assert_close(weights.sum(2), torch.ones(B, H * W, dtype=torch.float64))
    few = attention(made, *given, queries=[40, 7]).weights
    torch.testing.assert_close(few, weights[:, [40, 7]])


@pytest.mark.parametrize("sampling", [None, "random", "pyramid_random", "pyramid_average"])
def test_the_boxes_are_where_the_anchors_come_from(sampling: str | None) -> None:
    """Averaging the map over each box gives the anchors; spread weights give the same output."""
    made, given = block(sampling, None), maps(None)
    found = attention(made, *given)
    _, _, value = plain.embed(made.get_layers(), given[0], given[0], None)
    whole = made.value(given[0])  # type: ignore[misc]
    for i, (top, bottom, left, right) in enumerate(found.boxes.tolist()):
        torch.testing.assert_close(value[:, :, i], whole[:, :, top:bottom, left:right].mean((2, 3)))
    spread = found.spread().flatten(2)  # (B, N, N)
    torch.testing.assert_close(spread @ whole.flatten(2).mT, found.weights @ value.mT)


def test_a_point_of_the_image_is_a_row_of_each_block() -> None:
    torch.manual_seed(0)
    widths = {"backbone": "small", "widths": [4, 4, 4, 8], "channels": 8}
    sizes = {"key_channels": 4, "value_channels": 4, "pool_sizes": [1, 2]}
    network = SegmentationNetwork(3, **widths, **sizes, fusion="fnb", context="apnb").eval()  # type: ignore[arg-type]
    images = torch.randint(0, 256, (1, 3, 64, 128), dtype=torch.uint8)
    given: dict[str, tuple[Tensor, ...]] = {}
    for name in ("fusion", "context"):
        network.get_submodule(name).register_forward_pre_hook(
            lambda _, x, name=name: given.update({name: x[:2]})
        )
    found = network_attention(network, images, (0.5, 0.999))
    assert {name: tuple(a.weights.shape) for name, a in found.items()} == {
        "fusion": (1, 1, 8 * 16),
        "context": (1, 1, 5),
    }
    for name, a in found.items():
        with torch.inference_mode():
            whole = attention(network.get_submodule(name), *given[name]).weights
        torch.testing.assert_close(a.weights[:, 0], whole[:, 4 * 16 + 15])
