"""The blocks in somebody's own network: changed layers, hooks, export, compile, transforms."""

import copy
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import parametrizations, prune

from ann import BlockOptions, NonLocalBlock, Sampler, SegmentationNetwork, segmentation_loss

C, LOW, SIZE = 12, 20, (9, 11)
KINDS = ("nb", "apnb", "afnb", "max")


def make(kind: str = "apnb", form: str = "fast", **options: Any) -> NonLocalBlock:
    torch.manual_seed(0)
    sampling = "pyramid_max" if kind == "max" else "pyramid_average"
    return NonLocalBlock(
        C,
        key_channels=8,
        value_channels=8,
        low_channels=LOW if kind == "afnb" else None,
        sampler=None if kind == "nb" else Sampler(sampling, [1, 3, 6]),
        options=BlockOptions(form=form, **options),
    ).double()


def maps(kind: str = "apnb", batch: int = 2) -> list[Tensor]:
    generator = torch.manual_seed(1)
    channels = [C, LOW] if kind == "afnb" else [C]
    return [
        torch.randn(batch, c, *SIZE, dtype=torch.float64, generator=generator) for c in channels
    ]


def outcome(block: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    """The output and the gradients of the inputs and of all parameters."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    block.zero_grad()
    y = block(*inputs)
    y.pow(2).sum().backward()
    return [y.detach(), *(x.grad for x in inputs), *(p.grad for p in block.parameters())]  # type: ignore[misc]


class Adapter(nn.Module):
    """A low-rank adapter around a layer, as in LoRA."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        self.down = nn.Conv2d(layer.in_channels, 2, 1, dtype=torch.float64)
        self.up = nn.Conv2d(2, layer.out_channels, 1, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x) + self.up(self.down(x))
        return y


class Doubled(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def doubled(layer: nn.Conv2d) -> None:
    layer.__class__ = Doubled


def own_forward(layer: nn.Conv2d) -> None:
    real = layer.forward
    layer.forward = lambda x: 3 * real(x)  # type: ignore[method-assign]


def hook(layer: nn.Conv2d) -> None:
    layer.register_forward_hook(lambda module, given, y: y * 2)


def pre_hook(layer: nn.Conv2d) -> None:
    layer.register_forward_pre_hook(lambda module, given: (given[0] * 2,))


def backward_hook(layer: nn.Conv2d) -> None:
    layer.register_full_backward_hook(lambda module, into, out: (into[0] * 2,))


def pruned(layer: nn.Conv2d) -> None:
    prune.l1_unstructured(layer, "weight", amount=0.5)


def spectral(layer: nn.Conv2d) -> None:
    parametrizations.weight_norm(layer)


CHANGES: list[Callable[[nn.Conv2d], None]] = [
    doubled,
    own_forward,
    hook,
    pre_hook,
    backward_hook,
    pruned,
    spectral,
]
PARTS = ("query", "key", "value", "output", "fuse.0")


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:NonLocalBlock computes the plain form")
def test_a_changed_layer_counts_as_in_the_plain_form(
    kind: str, change: Callable[[nn.Conv2d], None]
) -> None:
    for part in PARTS:
        found = []
        for form in ("fast", "plain"):
            block = make(kind, form, share_key_value=False)
            change(block.get_submodule(part))  # type: ignore[arg-type]
            found.append(outcome(block, maps(kind)))
        torch.testing.assert_close(*found, rtol=1e-9, atol=1e-10, msg=lambda m, p=part: f"{p}: {m}")
        unchanged = outcome(make(kind, share_key_value=False), maps(kind))
        differs = any(not torch.allclose(a, b) for a, b in zip(found[0], unchanged, strict=False))
        assert differs or change is spectral, f"{part} was not called"


@pytest.mark.filterwarnings("ignore:NonLocalBlock computes the plain form")
def test_layers_of_other_kinds_are_called() -> None:
    """An adapter, a grouped convolution, one without bias, another sampler, a hooked `fuse`."""

    class Centre(Sampler):
        def forward(self, given: Any, sample_ids: Tensor | None = None) -> list[Tensor]:
            return [2 * x for x in super().forward(given, sample_ids)]

    def adapt(block: NonLocalBlock, part: str) -> None:
        parent, _, name = part.rpartition(".")
        setattr(block.get_submodule(parent), name, Adapter(block.get_submodule(part)))  # type: ignore[arg-type]

    def grouped(block: NonLocalBlock) -> None:
        block.output = nn.Conv2d(8, C, 1, groups=2, dtype=torch.float64)

    def no_bias(block: NonLocalBlock) -> None:
        block.output = nn.Conv2d(8, C, 1, bias=False, dtype=torch.float64)

    def other_sampler(block: NonLocalBlock) -> None:
        block.sampler = Centre("pyramid_average", [1, 2])

    def hooked(block: NonLocalBlock) -> None:
        assert block.fuse is not None
        block.fuse.register_forward_hook(lambda module, given, y: y * 2)

    changes: list[Any] = [lambda b, part=part: adapt(b, part) for part in PARTS]
    for change in (*changes, grouped, no_bias, other_sampler, hooked):
        found = []
        for form in ("fast", "plain"):
            block = make("apnb", form)
            torch.manual_seed(2)
            change(block)
            found.append(outcome(block, maps()))
        torch.testing.assert_close(*found, rtol=1e-9, atol=1e-10)


def test_a_layer_that_is_no_longer_called_is_named_once() -> None:
    block = make()
    hook(block.output)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("default")
        for _ in range(3):
            block(*maps())
    assert [str(w.message) for w in heard] == [
        "NonLocalBlock computes the plain form because its layer output has a hook or is not the "
        "layer it was made as; form='plain' does the same without this warning"
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make()(*maps())
        make(form="plain")(*maps())


def test_pruned_weights_are_learned_step_by_step() -> None:
    block = make()
    prune.random_unstructured(block.output, "weight", amount=0.5)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    for _ in range(3):
        before = block.output.weight_orig.clone()  # type: ignore[union-attr, operator]
        optimizer.zero_grad()
        block(*maps()).pow(2).sum().backward()
        optimizer.step()
        assert not torch.equal(before, block.output.weight_orig)  # type: ignore[arg-type]
        dropped = block.output.weight_mask == 0
        assert not block.output.weight.detach()[dropped].any()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("relu", [False, True])
def test_no_gradient_of_others_is_written_to(relu: bool, layout: torch.memory_format) -> None:
    """Without a batch norm after it, the block's gradient is also another branch's."""
    grads = []
    for form in ("fast", "plain"):
        for norm in ("kept", "identity"):
            block = make(form=form)
            assert block.fuse is not None
            if norm == "identity":
                block.fuse[1] = nn.Identity()
            if not relu:
                del block.fuse[2]
            x = maps()[0].contiguous(memory_format=layout).requires_grad_()
            beside = (2 * x.detach()).requires_grad_()
            kept: list[Tensor] = []
            if not relu:  # PyTorch allows none before a ReLU that is in place
                block.fuse[1].register_full_backward_hook(
                    lambda module, into, out, kept=kept: kept.append(into[0])
                )
            (x + block(x) + beside).pow(3).sum().backward()
            grads.append([x.grad, beside.grad, *kept])
    torch.testing.assert_close(grads[:2], grads[2:], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("side", [5, 40])
@pytest.mark.parametrize("settings", [{"track_running_stats": False}, {"affine": False}])
def test_batch_norms_of_other_settings(settings: dict[str, bool], side: int) -> None:
    found = []
    for form in ("fast", "plain"):
        block = make("apnb", form, embedding_norm=True)
        for name, module in list(block.named_modules()):
            if isinstance(module, nn.BatchNorm2d):
                parent, _, last = name.rpartition(".")
                norm = nn.BatchNorm2d(module.num_features, **settings, dtype=torch.float64)
                setattr(block.get_submodule(parent), last, norm)
        torch.manual_seed(3)
        x = [torch.randn(2, C, side, side, dtype=torch.float64)]
        found.append(outcome(block, x) + outcome(block.eval(), x))
    torch.testing.assert_close(*found, rtol=1e-8, atol=1e-9)


def network(form: str = "fast", **settings: Any) -> SegmentationNetwork:
    torch.manual_seed(0)
    chosen = {"fusion": "afnb", "context": "apnb", "sampling": "pyramid_average"} | settings
    return SegmentationNetwork(
        5,
        backbone="small",
        widths=[8] * 4,
        channels=16,
        key_channels=8,
        value_channels=8,
        pool_sizes=[1, 3, 6, 8],
        options=BlockOptions(form=form),
        **chosen,
    )


IMAGES = torch.rand(2, 3, 64, 104, generator=torch.manual_seed(4)) * 255  # maps of 8x13


@pytest.fixture
def _clean_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("form", ["fast", "plain"])
def test_an_exported_network_computes_the_same(form: str) -> None:
    net = network(form).eval()
    other = IMAGES.flip(3)
    exported = torch.export.export(net, (IMAGES,)).module()(other)[0]
    torch.testing.assert_close(exported, net(other)[0])
    traced = torch.jit.trace(net, IMAGES)(other)[0]
    torch.testing.assert_close(traced, net(other)[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
def test_the_batch_of_an_export_may_vary() -> None:
    net = network().eval()
    batch = {"images": {0: torch.export.Dim("batch", min=1, max=64)}}
    exported = torch.export.export(net, (IMAGES,), dynamic_shapes=batch).module()
    torch.testing.assert_close(exported(IMAGES[:1])[0], net(IMAGES[:1])[0])
    torch.testing.assert_close(exported(IMAGES.repeat(3, 1, 1, 1))[0][:2], net(IMAGES)[0])
    traced = torch.jit.trace(net, IMAGES)
    torch.testing.assert_close(traced(IMAGES[:1])[0], net(IMAGES[:1])[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of both exporters, about themselves
@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("form", ["fast", "plain"])
def test_an_onnx_file_computes_the_same(form: str, dynamo: bool, tmp_path: Path) -> None:
    """With pool sizes that do not divide the map, whose bins need ceiling division."""
    import onnxruntime

    net, other = network(form).eval(), IMAGES.flip(3)
    file = str(tmp_path / "network.onnx")
    torch.onnx.export(net, (IMAGES,), file, dynamo=dynamo, verbose=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: other.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(found), net(other)[0], rtol=1e-4, atol=1e-5)


def trained(net: SegmentationNetwork) -> dict[str, Tensor]:
    """The state after two steps; `sample_ids` decide the random methods."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    labels = torch.randint(0, 5, (2, 64, 104), generator=torch.manual_seed(5))
    for step in range(2):
        optimizer.zero_grad()
        segmentation_loss(*net(IMAGES, torch.arange(2) + step), labels)[0].backward()
        optimizer.step()
    return net.state_dict()


@pytest.mark.slow
@pytest.mark.usefixtures("_clean_compiler")
@pytest.mark.parametrize(
    "trace",
    [
        lambda net: torch.export.export(net, (IMAGES,)),
        lambda net: torch.compile(net, backend="eager")(IMAGES),
        lambda net: torch.jit.trace(copy.deepcopy(net).eval(), IMAGES),
        lambda net: _inference(net),
        lambda net: _fake(net),
        lambda net: copy.deepcopy(net).to("meta")(IMAGES.to("meta")),
        lambda net: torch.func.vmap(lambda x: copy.deepcopy(net).eval()(x[None])[0])(IMAGES),
    ],
    ids=["export", "compile", "jit", "inference", "fake", "meta", "vmap"],
)
def test_nothing_of_a_trace_stays_behind(trace: Callable[[SegmentationNetwork], Any]) -> None:
    expected = trained(network())
    net = network()
    state = copy.deepcopy(net.state_dict())
    trace(net)
    net.load_state_dict(state)
    for name, value in trained(net).items():
        assert torch.equal(value, expected[name]), name


def _inference(net: SegmentationNetwork) -> None:
    with torch.inference_mode():
        net(IMAGES)


def _fake(net: SegmentationNetwork) -> None:
    with FakeTensorMode():
        logits, aux = network()(torch.rand(IMAGES.shape))
        assert logits.shape == aux.shape == (2, 5, 8, 13)


@pytest.mark.slow
@pytest.mark.usefixtures("_clean_compiler")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", ["apnb", "afnb"])
def test_a_compiled_block_computes_the_same(kind: str, layout: torch.memory_format) -> None:
    inputs = [x.contiguous(memory_format=layout) for x in maps(kind)]
    block = make(kind)
    expected = outcome(copy.deepcopy(block), inputs)
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(outcome(compiled, inputs), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
@pytest.mark.usefixtures("_clean_compiler")
@pytest.mark.skipif(not shutil.which("c++"), reason="TorchInductor needs a C++ compiler")
def test_inductor_computes_the_same_with_random_positions_and_dropout() -> None:
    found = []
    for wrapped in (lambda f: f, lambda f: torch.compile(f, fullgraph=True)):
        torch.manual_seed(0)
        sampler = Sampler("pyramid_random", [1, 3])
        block = NonLocalBlock(C, key_channels=8, value_channels=8, sampler=sampler, dropout=0.25)
        x = maps()[0].float().requires_grad_()
        y = wrapped(block)(x, sample_ids=torch.tensor([5, -(2**62)]))
        y.square().sum().backward()
        found.append([y, x.grad, *(p.grad for p in block.parameters())])
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("_clean_compiler")
@pytest.mark.filterwarnings("ignore:NonLocalBlock computes the plain form")
def test_a_compiled_block_sees_a_pruned_layer() -> None:
    block, other = make(), make()
    pruned(block.output)
    pruned(other.output)
    expected = outcome(other, maps())
    compiled = torch.compile(block, backend="aot_eager")
    torch.testing.assert_close(outcome(compiled, maps()), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_are_those_of_the_plain_form(kind: str) -> None:
    found = []
    for form in ("fast", "plain"):
        block = make(kind, form)
        inputs = [x.requires_grad_() for x in maps(kind)]
        first = torch.autograd.grad(block(*inputs).pow(2).sum(), inputs, create_graph=True)
        found.append(torch.autograd.grad(sum(g.pow(2).sum() for g in first), inputs))  # type: ignore[union-attr, arg-type]
    torch.testing.assert_close(*found, rtol=1e-8, atol=1e-8)


def test_a_second_derivative_that_is_not_there_names_the_form_that_has_it() -> None:
    block = make("nb", "fused")
    x = maps()[0].requires_grad_()
    with pytest.raises(RuntimeError, match="form='plain'"):
        torch.autograd.grad(block(x).sum(), x, create_graph=True)
    (gradient,) = torch.autograd.grad(block(x).sum(), x)
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("kind", ["nb", "apnb", "max"])
def test_function_transforms(kind: str) -> None:
    """Gradients of each sample alone, and an ensemble of weights, by torch.func."""
    block = make(kind).eval()
    weights = dict(block.named_parameters())
    fixed = dict(block.named_buffers())
    x = maps()[0]

    def loss(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(block, (parameters, fixed), (sample[None],))
        return y.pow(2).sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x)
    for i, sample in enumerate(x):
        block.zero_grad()
        block(sample[None]).pow(2).sum().backward()
        for name, p in block.named_parameters():
            torch.testing.assert_close(each[name][i], p.grad, rtol=1e-8, atol=1e-9)
    stacked = {name: torch.stack([p, 2 * p]) for name, p in weights.items()}
    two = torch.func.vmap(loss, in_dims=(0, None))(stacked, x[0])
    torch.testing.assert_close(two[0], loss(weights, x[0]))


def test_the_loss_of_an_evaluation_has_no_auxiliary_part() -> None:
    net = network().eval()
    labels = torch.randint(0, 5, (2, 64, 104), generator=torch.manual_seed(5))
    for at_labels in (True, False):
        total, final = segmentation_loss(*net(IMAGES), labels, at_labels=at_labels)
        assert total == final
    for kind in (torch.uint8, torch.int16, torch.int32):
        assert (
            segmentation_loss(*net(IMAGES), labels.to(kind))[0]
            == segmentation_loss(*net(IMAGES), labels)[0]
        )


def test_apnb_takes_maps_smaller_than_its_pool_sizes() -> None:
    for size in ((7, 7), (7, 20), (1, 1)):
        x = torch.randn(2, C, *size, dtype=torch.float64)
        found = []
        for form in ("fast", "plain"):
            block = make(form=form)
            block.sampler = Sampler("pyramid_average", [1, 3, 6, 8])
            found.append(outcome(block, [x]))
        torch.testing.assert_close(*found, rtol=1e-9, atol=1e-10)
