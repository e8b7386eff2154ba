"""The fast form equals the plain one, in the output and in every gradient."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ann import (
    FORMS,
    NORMALIZATIONS,
    OUTPUTS,
    SAMPLINGS,
    BlockOptions,
    NonLocalBlock,
    Sampler,
    factors,
    fast,
    orders,
)

C, LOW = 10, 14
SAMPLERS: list[tuple[str, list[int]] | None] = [
    None,
    *((s, [1, 2, 3] if s.startswith("pyramid") else [2]) for s in SAMPLINGS),
]


@pytest.fixture(params=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With "large" every N x S matrix counts as large."""
    if request.param == "large":
        monkeypatch.setattr(factors, "LARGE", 0)
    return str(request.param)


def results(
    block: NonLocalBlock, form: str, inputs: list[Tensor], sample_ids: Tensor
) -> dict[str, Tensor]:
    """The output, the gradients and the batch norm's statistics; output and inputs in NCHW."""
    object.__setattr__(block.options, "form", form)
    inputs = [x.clone().requires_grad_() for x in inputs]
    block.zero_grad()
    y = block(*inputs, sample_ids=sample_ids)
    given = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape).sin()
    gradient = torch.empty_like(y).copy_(given)
    y.backward(gradient)
    assert torch.equal(gradient, given), "others may hold this gradient too"
    gradients = {f"d {name}": p.grad for name, p in block.named_parameters()}
    buffers = {name: b.clone() for name, b in block.named_buffers() if "running" in name}
    return (
        {"y": y.detach(), **{f"d x{i}": x.grad for i, x in enumerate(inputs)}} | gradients | buffers
    )


def compare(
    block: NonLocalBlock, inputs: list[Tensor], *, rtol: float = 1e-9, atol: float = 1e-11
) -> None:
    state = {k: v.clone() for k, v in block.state_dict().items()}
    sample_ids = torch.arange(len(inputs[0]))
    expected = results(block, "plain", inputs, sample_ids)
    block.load_state_dict(state)
    for name, value in results(block, "fast", inputs, sample_ids).items():
        torch.testing.assert_close(
            value, expected[name], rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}"
        )


def make(
    sampler: tuple[str, list[int]] | None,
    low: int | None,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> NonLocalBlock:
    torch.manual_seed(0)
    shared = options.get("share_key_value", True) and low is not None
    block = NonLocalBlock(
        C,
        key_channels=6,
        value_channels=6 if shared else 4,
        low_channels=low,
        sampler=sampler and Sampler(*sampler),
        options=BlockOptions(**options),
        relu=low is None,
    ).to(dtype)
    for layer in block.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return block


def maps(low: int | None, batch: int, size: tuple[int, int], dtype: torch.dtype) -> list[Tensor]:
    shapes = [(batch, C, *size)] + ([(batch, low, size[0] + 1, size[1])] if low else [])
    generator = torch.manual_seed(1)
    return [torch.randn(shape, dtype=dtype, generator=generator) for shape in shapes]


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: s[0] if s else "nb")
def test_forms_agree_for_every_choice(
    sampler: tuple[str, list[int]] | None, normalization: str, size: str
) -> None:
    for output, low, *flags in product(OUTPUTS, (None, LOW), *[(False, True)] * 3):
        names = ("share_query_key", "share_key_value", "embedding_norm")
        chosen = dict(zip(names, flags, strict=True))
        if chosen["share_key_value" if low is None else "share_query_key"]:
            continue  # without effect here
        block = make(
            sampler, low, normalization=normalization, output=output, scale=flags[0], **chosen
        )
        compare(block, maps(low, 2, (5, 7), torch.float64))


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(1, (3, 3)), (2, (1, 1)), (1, (13, 4)), (3, (9, 9))])
def test_forms_agree_for_every_shape_and_layout(
    shape: tuple[int, tuple[int, int]], form: torch.memory_format, size: str
) -> None:
    batch, extent = shape
    pools = [n for n in (1, 2, 3) if n <= min(extent)]
    for sampler, low, output in product((None, ("pyramid_average", pools)), (None, LOW), OUTPUTS):
        block = make(sampler, low, output=output, embedding_norm=False, share_key_value=False)
        compare(
            block,
            [x.contiguous(memory_format=form) for x in maps(low, batch, extent, torch.float64)],
        )
        block.eval()
        compare(block, maps(low, batch, extent, torch.float64))


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("of_output", [False, True])
@pytest.mark.parametrize("of_fuse", [False, True])
def test_forms_agree_with_and_without_biases(output: str, of_output: bool, of_fuse: bool) -> None:
    block = make(("pyramid_average", [1, 2]), None, output=output)
    layers = {block.output: of_output}
    if block.fuse is not None:
        layers[block.fuse[0]] = of_fuse  # type: ignore[index]
    for layer, has in layers.items():
        layer.bias = nn.Parameter(torch.randn(C, dtype=torch.float64)) if has else None
    compare(block, maps(None, 2, (5, 7), torch.float64))


@pytest.mark.parametrize("channels", [(64, 16), (16, 64)])
def test_forms_agree_whichever_way_is_cheapest(channels: tuple[int, int]) -> None:
    """Few and many anchors, narrow and wide values: every order of ann.orders is taken."""
    wide, narrow = channels
    taken = set()
    for n, output, normalization in product((1, 2, 12), OUTPUTS, ("softmax", "none")):
        torch.manual_seed(0)
        block = NonLocalBlock(
            wide,
            key_channels=4,
            value_channels=narrow,
            sampler=Sampler("average", [n]),
            options=BlockOptions(normalization=normalization, output=output),
        ).double()
        cost = orders.count_multiply_adds(196, n * n, 4, narrow, wide, output == "concat")
        if normalization == "softmax":
            del cost["product"]
        taken.add(min(cost, key=lambda order: cost[order]))
        compare(block, [torch.randn(1, wide, 14, 14, dtype=torch.float64)])
    assert taken == {"anchors", "matrix", "product"} if wide > narrow else {"anchors", "product"}


def test_forms_agree_in_float32_within_rounding(size: str) -> None:
    for sampler, low in product((None, ("pyramid_average", [1, 3])), (None, LOW)):
        block = make(sampler, low, torch.float32, embedding_norm=True, share_key_value=False)
        compare(block, maps(low, 2, (12, 16), torch.float32), rtol=1e-3, atol=2e-4)


def test_the_fast_form_is_as_near_in_bfloat16() -> None:
    """Under autocast both forms round; the fast one is no further from float32 than the plain."""
    block = make(("pyramid_average", [1, 3]), None, torch.float32, embedding_norm=True)
    inputs, sample_ids = maps(None, 2, (12, 16), torch.float32), torch.arange(2)
    exact = results(block, "plain", inputs, sample_ids)
    errors = {}
    for form in ("plain", "fast"):
        with torch.autocast("cpu", torch.bfloat16):
            rounded = results(block, form, inputs, sample_ids)
        errors[form] = [
            float((rounded[k].float() - exact[k]).norm() / exact[k].norm()) for k in ("y", "d x0")
        ]
    assert all(f < 1.2 * p for f, p in zip(errors["fast"], errors["plain"], strict=True)), errors
    assert max(errors["fast"]) < 0.05


@pytest.mark.parametrize("sign", ["front", "anchors"])
def test_a_broken_fold_is_found(sign: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above can fail: a wrong sign in the fold, or in the norm's backward, does."""
    if sign == "front":
        real = fast.compute_factors
        monkeypatch.setattr(fast, "compute_factors", lambda *a: (real(*a)[0], -real(*a)[1]))
    else:
        real_rows = fast.compute_key_and_value
        monkeypatch.setattr(
            fast, "compute_key_and_value", lambda *a: (-real_rows(*a)[0], real_rows(*a)[1])
        )
    with pytest.raises(AssertionError):
        compare(make(("average", [2]), None), maps(None, 2, (5, 7), torch.float64))


def test_nothing_of_size_n_by_2c_or_n_by_n_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest tensor of APNB's forward is the map, and of NB's as well."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        seen = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            for t in out if isinstance(out, tuple | list) else [out]:
                if isinstance(t, Tensor):
                    self.seen = max(self.seen, t.numel())
            return out

    monkeypatch.setattr(factors, "LARGE", 1 << 10)
    x = torch.randn(1, 32, 24, 24)
    for sampler in (None, Sampler("pyramid_average", [1, 3])):
        for form, most in (("fast", x.numel()), ("plain", None)):
            options = BlockOptions(form=form)
            block = NonLocalBlock(
                32, key_channels=8, value_channels=8, sampler=sampler, options=options
            )
            with Largest() as mode:
                block(x)
            if most:
                assert mode.seen <= most
            else:
                assert mode.seen >= 2 * x.numel()


@pytest.mark.parametrize("low", [None, LOW])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "bfloat16"])
def test_gradients_have_the_layout_of_their_weights(
    low: int | None, output: Any, mixed: bool
) -> None:
    """DistributedDataParallel copies the others in each iteration."""
    options = BlockOptions(output=output, embedding_norm=True)
    sampler = Sampler("pyramid_average", [1, 3])
    block = NonLocalBlock(
        C, low_channels=low, key_channels=4, value_channels=4, sampler=sampler, options=options
    ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    maps = [torch.randn(2, n, 5, 6) for n in (C, low) if n]
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        y = block(*(x.to(memory_format=torch.channels_last) for x in maps))
    y.float().square().sum().backward()
    for name, weight in block.named_parameters():
        assert weight.grad is not None
        assert weight.grad.stride() == weight.stride(), name


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("low", [None, LOW])
@pytest.mark.parametrize("sampler", [None, ("pyramid_average", [1, 3]), ("random", [2])])
def test_recomputing_attention_keeps_less_and_changes_no_bit(
    sampler: tuple[str, list[int]] | None, low: int | None, form: str
) -> None:
    """Also the statistics of the batch norms, which see each batch once."""
    found, kept_bytes = [], []
    for recompute in (False, True):
        block = make(sampler, low, embedding_norm=True, share_key_value=False, recompute=recompute)
        storages: dict[int, Tensor] = {}

        def keep(tensor: Tensor, storages: dict[int, Tensor] = storages) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            found.append(results(block, form, maps(low, 2, (8, 9), torch.float64), torch.arange(2)))
        kept_bytes.append(sum(t.untyped_storage().nbytes() for t in storages.values()))
        assert all(int(n) == 1 for name, n in block.named_buffers() if "tracked" in name)
    assert kept_bytes[1] < kept_bytes[0]
    assert any("running" in name for name in found[0])
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


def test_a_block_without_gradients_or_in_evaluation_recomputes_nothing() -> None:
    block = make(("pyramid_average", [1, 3]), None, embedding_norm=True, recompute=True)
    (x,), calls = maps(None, 2, (8, 9), torch.float64), []
    block.query.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        block(x)
    assert len(calls) == 1
    block(x).sum().backward()
    assert len(calls) == 3, "once more in the backward pass"


@pytest.mark.parametrize("kind", [None, ("pyramid_average", [1, 3])])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_the_fast_form_keeps_the_layout_and_copies_no_map(
    form: torch.memory_format, output: str, kind: tuple[str, list[int]] | None
) -> None:
    """Neither x nor the gradient is copied to another layout, and y has the layout of x."""
    from torch.utils._python_dispatch import TorchDispatchMode

    copies: list[str] = []

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func in (torch.ops.aten.copy_.default, torch.ops.aten.clone.default):
                source = args[-1] if func is torch.ops.aten.copy_.default else args[0]
                if source.numel() >= x.numel():
                    copies.append(str(func))
            return func(*args, **(kwargs or {}))

    block = make(kind, None, torch.float32, output=output)
    x = torch.randn(2, C, 16, 18).contiguous(memory_format=form).requires_grad_()
    with Copies():
        y = block(x)
        y.backward(torch.randn_like(y))
    assert y.is_contiguous(memory_format=form)
    assert not copies
