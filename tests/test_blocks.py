"""The blocks against closed forms and loops."""

import pytest
import torch
from torch import Tensor

from ann import FORMS, NORMALIZATIONS, OUTPUTS, BlockOptions, NonLocalBlock, Sampler, attend

B, C, K, V, H, W = 2, 12, 4, 6, 5, 7


class Identity(Sampler):
    """Every position is an anchor."""

    def __init__(self) -> None:
        super().__init__("random", [1])

    def forward(self, maps: list[Tensor], sample_ids: Tensor | None = None) -> list[Tensor]:  # type: ignore[override]
        return [m.flatten(2) for m in maps]


def block(**settings: object) -> NonLocalBlock:
    torch.manual_seed(0)
    made = NonLocalBlock(C, key_channels=K, value_channels=K, **settings)  # type: ignore[arg-type]
    return made.double().eval()


def example(channels: int = C) -> Tensor:
    return torch.randn(B, channels, H, W, dtype=torch.float64, generator=torch.manual_seed(1))


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_attend_is_the_papers_sum(normalization: str) -> None:
    query, key = torch.randn(B, K, 3), torch.randn(B, K, 5)
    value = torch.randn(B, V, 5)
    result = attend(query, key, value, normalization)
    for b in range(B):
        for n in range(3):
            similarity = torch.stack([query[b, :, n] @ key[b, :, s] for s in range(5)])
            if normalization == "softmax":
                similarity = similarity.exp() / similarity.exp().sum()
            elif normalization == "rescaling":
                similarity = similarity / 5
            expected = sum(similarity[s] * value[b, :, s] for s in range(5))
            torch.testing.assert_close(result[b, :, n], expected)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("low", [None, 8])
@pytest.mark.parametrize("form", FORMS)
def test_identity_sampling_makes_apnb_equal_nb(
    form: str, normalization: str, output: str, low: int | None
) -> None:
    if form == "fused" and normalization != "softmax":
        return
    options = BlockOptions(
        normalization=normalization, output=output, share_key_value=False, form=form
    )
    plain = block(options=options, low_channels=low)
    sampled = block(options=options, low_channels=low, sampler=Identity())
    sampled.load_state_dict(plain.state_dict())
    inputs = (example(),) if low is None else (example(), example(low))
    torch.testing.assert_close(plain(*inputs), sampled(*inputs), rtol=1e-12, atol=1e-14)


def test_afnb_of_a_map_with_itself_is_apnb() -> None:
    options = BlockOptions(share_key_value=False)
    fusion = block(options=options, low_channels=C, sampler=Sampler("pyramid_average", [1, 3]))
    alone = block(options=options, sampler=Sampler("pyramid_average", [1, 3]))
    alone.load_state_dict(fusion.state_dict())
    x = example()
    assert torch.equal(fusion(x, x), alone(x))


def test_one_anchor_gives_every_position_the_projected_mean_value() -> None:
    """With S = 1 the softmax is 1, so W_o(O) is the projected mean of the value everywhere."""
    made = block(options=BlockOptions(output="residual"), sampler=Sampler("average", [1]))
    x = example()
    expected = made.output(made.value(x).mean((2, 3), keepdim=True))  # type: ignore[misc]
    torch.testing.assert_close(made(x) - x, expected.expand_as(x))


def test_options_add_and_remove_exactly_their_parameters() -> None:
    def names(low: int | None = None, **options: bool | str) -> set[str]:
        made = block(options=BlockOptions(**options), low_channels=low)  # type: ignore[arg-type]
        return {name.split(".")[0] for name, _ in made.named_parameters()}

    everything = {"query", "key", "value", "output", "fuse"}
    assert names() == everything
    assert names(share_query_key=True) == everything - {"key"}
    assert names(low=8) == everything - {"value"}
    assert names(low=8, share_key_value=False) == everything
    assert names(output="residual") == everything - {"fuse"}


def test_zero_init_starts_as_the_identity_on_a_residual_block() -> None:
    made = block(options=BlockOptions(output="residual", zero_init=True))
    assert torch.equal(made(example()), example())


def test_scale_divides_the_similarity() -> None:
    x, shared = example(), BlockOptions(scale=True, output="residual")
    scaled, plain = block(options=shared), block(options=BlockOptions(output="residual"))
    plain.load_state_dict(scaled.state_dict())
    assert not torch.allclose(scaled(x), plain(x))
    with torch.no_grad():
        plain.query.weight *= K**-0.5  # type: ignore[operator]
        plain.query.bias *= K**-0.5  # type: ignore[operator]
    torch.testing.assert_close(scaled(x), plain(x))


def test_gradients_are_those_of_finite_differences() -> None:
    made = block(low_channels=8, sampler=Sampler("pyramid_average", [1, 2]))
    inputs = example().requires_grad_(), example(8).requires_grad_()
    assert torch.autograd.gradcheck(made, inputs, fast_mode=True)


@pytest.mark.parametrize("form", FORMS)
def test_impossible_inputs_are_refused(form: str) -> None:
    options = BlockOptions(form=form)
    made = block(low_channels=8, sampler=Sampler("random", [6]), options=options)
    with pytest.raises(ValueError, match=r"pool_sizes must draw at most 35 .* 5x7, got \[6\]"):
        made(example(), example(8))
    with pytest.raises(ValueError, match="low must have 8 channels, got 12"):
        made(example(), example())


def test_impossible_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="normalization must be one of softmax"):
        BlockOptions(normalization="tanh")
    with pytest.raises(ValueError, match="must be softmax in the fused form, got 'none'"):
        BlockOptions(normalization="none", form="fused")
    with pytest.raises(ValueError, match=r"value_channels must equal key_channels, 4, .* got 6"):
        NonLocalBlock(C, key_channels=4, value_channels=6, low_channels=8)
    with pytest.raises(ValueError, match="low must be given if"):
        block()(example(), example())
