"""The contract of a block: a module from maps (B, C, H, W) to maps of the same shape."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

import contexts
from ann import BlockOptions, NonLocalBlock, Sampler
from pipeline.engine.errors import InputError
from pipeline.settings import contexts as own_settings
from pipeline.settings import params
from tests.contract.refusals import find_refusal

CHANNELS, KEY, HEIGHT, WIDTH = 8, 4, 17, 19
SIZES = ((17, 19), (32, 24), (1, 1), (1, 7))  # odd maps, and maps of one position or row
PAPER: dict[str, dict[str, Any]] = {
    "nb": {},
    "apnb": {"sampler": Sampler("pyramid_average", [1, 2])},
    "fnb": {"low_channels": CHANNELS},
    "afnb": {"low_channels": CHANNELS, "sampler": Sampler("pyramid_average", [1, 2])},
}
NAMES = (*PAPER, *contexts.names())
Make = Callable[[], nn.Module]


def make(name: str) -> nn.Module:
    """Return the block with the settings of the first profile that has some."""
    if name in PAPER:
        return NonLocalBlock(CHANNELS, key_channels=KEY, value_channels=KEY, **PAPER[name])
    return make_context(name, find_settings(name))


def find_settings(name: str) -> dict[str, Any]:
    """Return the settings of a context, from a variant or else from a profile of params.yaml."""
    settings = params.load()
    for variant in settings.variants.values():
        if variant.context == name and variant.settings:
            return dict(variant.settings)
    return dict(settings.active.network.contexts.get(name, {}))


def make_context(name: str, own: dict[str, Any]) -> nn.Module:
    small = {key: min(value, KEY) if key == "width" else value for key, value in own.items()}
    block: nn.Module = contexts.load(name).Context(CHANNELS, BlockOptions(), **small)
    return block


def make_map(batch: int = 2, size: tuple[int, int] = (HEIGHT, WIDTH), dtype: Any = None) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, CHANNELS, *size, generator=generator, dtype=dtype or torch.float32)


def call(block: nn.Module, x: Tensor) -> Tensor:
    """Call a block with a map, and a fusion block with a second one."""
    fuses = isinstance(block, NonLocalBlock) and block.fuses
    result: Tensor = block(x, x.flip(3)) if fuses else block(x)
    return result


def accepts(block: nn.Module, size: tuple[int, int]) -> bool:
    """Whether the block takes the size; it may refuse one by a ValueError of one sentence."""
    refusal = find_refusal(partial(call, block.eval(), make_map(size=size)))
    assert "\n" not in refusal, "a refusal must be one sentence"
    return not refusal


def check_shape_and_dtype(make: Make) -> None:
    """The output has the shape and the number type of the input."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        block = make().to(dtype).train()
        x = make_map(dtype=dtype)
        y = call(block, x)
        assert y.shape == x.shape, f"the shape must be {tuple(x.shape)}, got {tuple(y.shape)}"
        assert y.dtype == dtype, f"the number type must be {dtype}, got {y.dtype}"
        assert y.isfinite().all(), f"the output in {dtype} has values that are not finite"


def check_gradients(make: Make) -> None:
    """Every parameter gets a gradient, and so does the input."""
    block = make().double().train()
    for parameter in block.parameters():  # some start at zero, and would stop the gradient
        nn.init.normal_(parameter, std=0.5)
    x = make_map(4, dtype=torch.float64).requires_grad_()
    call(block, x).square().sum().backward()
    assert x.grad is not None, "the input gets no gradient"
    assert x.grad.any(), "the gradient of the input is zero"
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, f"{name} gets no gradient"
        assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"


def check_batch_split(make: Make) -> None:
    """In evaluation each sample has the same result alone as in a batch."""
    block = make().double().eval()
    x = make_map(3, dtype=torch.float64)
    with torch.no_grad():
        whole, parts = call(block, x), torch.cat([call(block, x[i : i + 1]) for i in range(3)])
    gap = (whole - parts).abs().max()
    assert gap < 1e-9, f"a sample alone differs by {gap:.1e} from the same in a batch"


def check_randomness(make: Make) -> None:
    """It draws no global random numbers."""
    block = make().train()
    state = torch.get_rng_state()
    call(block, make_map())
    assert torch.equal(state, torch.get_rng_state()), "it draws global random numbers"


def check_sizes(make: Make) -> None:
    """It takes odd maps, and takes or refuses tiny ones."""
    block = make()
    assert accepts(block, SIZES[0]), "it refuses a map of 17x19"
    for size in SIZES:
        if accepts(block, size):
            shape = call(block.eval(), make_map(size=size)).shape[2:]
            assert tuple(shape) == size, f"a map of {size} becomes one of {tuple(shape)}"


def check_state(make: Make) -> None:
    """Its state goes through safetensors into a new block, which then computes the same."""
    block, other = make().train(), make()
    call(block, make_map(4))  # batch norm's averages move
    other.load_state_dict(load(save(copy.deepcopy(block.state_dict()))))
    x = make_map()
    with torch.no_grad():
        same = torch.equal(call(block.eval(), x), call(other.eval(), x))
    assert same, "a new block with the same state computes something else"


CHECKS = (
    check_shape_and_dtype,
    check_gradients,
    check_batch_split,
    check_randomness,
    check_sizes,
    check_state,
)


def list_wrong_settings(name: str) -> list[dict[str, Any]]:
    """Return settings that a context must refuse: each number as 0, each list empty or with a 0."""
    own = find_settings(name)
    wrong: list[dict[str, Any]] = []
    for key, value in own.items():
        if isinstance(value, list):
            wrong += [own | {key: []}, own | {key: [0]}]
        elif isinstance(value, int) and not isinstance(value, bool):
            wrong.append(own | {key: 0})
    return wrong


def check_settings(name: str) -> None:
    """It refuses settings below 1 by a ValueError, and unknown ones."""
    if name in PAPER:
        _check_paper_options(name)
        return
    for wrong in list_wrong_settings(name):
        refusal = find_refusal(partial(make_context, name, wrong))
        assert refusal, f"it takes the settings {wrong}"
        assert "\n" not in refusal, "a refusal must be one sentence"
    settings = params.load()
    network = settings.active.network
    strange = network.model_copy(
        update={"contexts": {**network.contexts, name: {**find_settings(name), "strange": 1}}}
    )
    variant = next(iter(settings.variants.values())).model_copy(
        update={"context": name, "settings": None, "sampling": None, "pool_sizes": None}
    )
    profile = settings.active.model_copy(update={"network": strange})
    changed = settings.model_copy(
        update={
            "profiles": {settings.profile: profile},
            "variants": {"own": variant},
            "rows": ["own"],
        }
    )
    refusal = find_refusal(partial(own_settings.check_contexts, changed), InputError)
    assert "strange" in refusal, f"it takes a setting that it does not have {refusal}"


def _check_paper_options(name: str) -> None:
    for wrong in ({"normalization": "norm"}, {"output": "sum"}, {"form": "quick"}):
        work = partial(_make_with_options, name, wrong)
        assert find_refusal(work), f"it takes the options {wrong}"


def _make_with_options(name: str, own: dict[str, Any]) -> nn.Module:
    options = replace(BlockOptions(), **own)
    return NonLocalBlock(
        CHANNELS, key_channels=KEY, value_channels=KEY, options=options, **PAPER[name]
    )
