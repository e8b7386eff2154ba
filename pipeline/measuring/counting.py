"""Count what a forward pass needs, on the meta device: nothing is computed or allocated.

Count in a process of its own, because what the library caches between calls has no values here.
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ann import Backbone, TimmBackbone, make_backbone
from ann.backbone import SMALL
from pipeline.engine import networks
from pipeline.engine.files import digest
from pipeline.settings import fields, schema
from pipeline.training.recipe import training_loss

Maps = tuple[Tensor, Tensor]


class SkipInitialValues(TorchFunctionMode):
    """Skip the initial values of tensors, because they take half of the time on the meta device."""

    _FILL = frozenset({Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_})

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self._FILL or getattr(func, "__module__", None) == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


class _Attention(torch.autograd.Function):
    """Fused attention as autograd sees it: it saves its inputs and its output, and no N x S."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output: Tensor = (query @ key.transpose(-1, -2)).softmax(dim=-1) @ value
        ctx.save_for_backward(query, key, value, output)
        return output


class FusedAttention(TorchFunctionMode):
    """Count scaled_dot_product_attention as on CUDA; the meta device has only its plain form."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return _Attention.apply(*args)
        return func(*args, **(kwargs or {}))


class _Operations(TorchDispatchMode):
    """Count operations on the meta device by the formulas of PyTorch's counter.

    PyTorch works out each kind of call once. A later call with inputs of the same layouts gets new
    empty tensors, or its own first input if the call is in place.
    """

    cache: ClassVar[dict[Any, tuple[int, Any]]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        shared = [result.alias_info for result in func._schema.returns]
        in_place = len(shared) == 1 and shared[0] is not None and shared[0].is_write
        if any(shared) and not in_place:  # a view
            return func(*args, **kwargs)
        key = func, _describe_layout(args), _describe_layout(tuple(kwargs.items()))
        if key in self.cache:
            operations, results = self.cache[key]
            self.total += operations
            return args[0] if in_place else _make_empty(results)
        before = _describe_layout(args[0]) if in_place else None
        output = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        operations = formula(*args, **kwargs, out_val=output) if formula else 0
        self.total += operations
        results = _describe_layout(output)
        on_meta = all(
            t.is_meta for t in tree_leaves((args, kwargs, output)) if isinstance(t, Tensor)
        )
        if on_meta and (before is None or before == results):
            self.cache[key] = operations, results
        return output


def _describe_layout(value: Any) -> Any:
    """Return a hashable key of a call's values: all of them, but of a tensor only its layout."""
    if isinstance(value, Tensor):
        return Tensor, tuple(value.shape), value.stride(), value.dtype, value.device
    if isinstance(value, list | tuple):
        return type(value), *map(_describe_layout, value)
    return type(value), value


def _make_empty(layout: Any) -> Any:
    """Return the value that `_describe_layout` describes, with new tensors."""
    kind, *rest = layout
    if kind is Tensor:
        shape, stride, dtype, device = rest
        return torch.empty_strided(shape, stride, dtype=dtype, device=device)
    if kind in (list, tuple):
        return kind(map(_make_empty, rest))
    return rest[0]


class Needs(NamedTuple):
    """What a pass needs.

    Attributes:
        parameters: The number of the network's parameters.
        flops: Operations, two for a multiply-add, of what has a backward pass too.
        saved_bytes: What autograd saves for the backward pass.
        loss_bytes: What the first steps of the backward pass hold besides: the gradients of the
            logits and of their logarithmic softmax, where these are largest.
        frozen_parameters: Those of `parameters` that are not trained.
        frozen_flops: Operations of what has no backward pass.
    """

    parameters: int
    flops: int
    saved_bytes: int
    loss_bytes: int = 0
    frozen_parameters: int = 0
    frozen_flops: int = 0


def count_needs(
    network: nn.Module, call: Callable[[], object], inputs: Iterable[Tensor] = ()
) -> Needs:
    """Return what a call of a network needs.

    Args:
        network: The network, on the meta device.
        call: Runs the network, and a loss if there is one.
        inputs: Tensors that autograd may save without adding to `saved_bytes`, as it may the
            network's own.
    """
    own = [*network.parameters(), *network.buffers(), *inputs]
    own_storages = {tensor.untyped_storage()._cdata for tensor in own}
    storages: dict[int, torch.UntypedStorage] = {}  # so that none is freed and its address reused

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own_storages:
            storages[storage._cdata] = storage
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with torch.device("meta"), _Operations() as operations, hooks:
        call()
    return Needs(
        parameters=sum(p.numel() for p in network.parameters()),
        flops=operations.total,
        saved_bytes=sum(storage.nbytes() for storage in storages.values()),
    )


class _FixedMaps(nn.Module):
    """Stand in for a backbone with the maps that it gave."""

    def __init__(self, maps: Maps) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, _: Tensor) -> Maps:
        return self.maps


def select_backbone(network: fields.NetworkSettings) -> fields.NetworkSettings:
    """Return the settings of a network that shape its backbone's modules."""
    return {key: network[key] for key in fields.BACKBONE_SETTINGS if key in network}


def build_backbone(network: fields.NetworkSettings) -> Backbone | TimmBackbone:
    """Return a network's backbone on the meta device.

    Raises:
        ValueError: There is no such backbone.
        ImportError: The package that it needs is not installed.
    """
    options = select_backbone(network)
    with torch.device("meta"), SkipInitialValues():
        return make_backbone(options.pop("backbone"), **options)


def count_channels(network: fields.NetworkSettings) -> tuple[int, int]:
    """Return the channels of a backbone's Stage4 and Stage5."""
    backbone = build_backbone(network)
    return backbone.stage4_channels, backbone.stage5_channels


def training_needs(
    network: fields.NetworkSettings,
    classes: int,
    train: schema.Train,
    backbones: dict[str, tuple[Needs, Maps]],
    cached: bool = False,
) -> Needs:
    """Return what the forward pass of one image and its loss need in training.

    This counts two images and takes half, because batch norm refuses a single image where the map
    has one position. The blocks are as on CUDA, where attention is always fused unless their form
    is plain. The loss is without mining of hard pixels, which saves nothing.

    Args:
        network: The `network` settings, as `Params.network` returns them.
        classes: The number of classes.
        train: The training's settings.
        backbones: Needs and maps of earlier calls' backbones, which this extends. They are most
            of the work.
        cached: Whether the backbone's maps are computed before.
    """
    dtype = torch.float32 if train.precision in ("float32", "tf32") else torch.bfloat16
    with torch.device("meta"):
        image = torch.zeros(2, 3, *train.augment.crop, dtype=dtype)
        labels = torch.zeros(2, *train.augment.crop, dtype=torch.int64)
        sample_ids = torch.zeros(2, dtype=torch.int64)
    name = digest([select_backbone(network), train.augment.crop, str(dtype)])
    if name not in backbones:
        backbone = build_backbone(network).to(dtype)
        outputs: list[Tensor] = []
        needs = count_needs(backbone, lambda: outputs.extend(backbone(image)))
        backbones[name] = needs, (outputs[0].detach(), outputs[1].detach())
    backbone_needs, maps = backbones[name]
    stand_in = {
        "backbone": SMALL,
        "stem": "plain",
        "widths": [1, 1, *(m.shape[1] for m in maps)],
        "levels": None,
        "pixels": "imagenet",
    }
    options = dict(network["options"])
    if options["form"] == "fast" and not options["output_norm"]:
        options["form"] = "fused"
    with torch.device("meta"), SkipInitialValues():
        model = networks.build(network | stand_in | {"options": options}, classes)
    model.backbone = _FixedMaps(maps)  # type: ignore[assignment]
    model.to(dtype)
    loss = train.loss.model_copy(update={"ohem": None})

    def call() -> None:
        logits, aux = model(image, sample_ids)
        align = model.align_corners
        training_loss(loss, logits, aux, labels, class_weights=None, align_corners=align)

    with FusedAttention():
        head = count_needs(model, call, maps)
    height, width = train.augment.crop if loss.at_labels else maps[1].shape[2:]
    loss_bytes = 2 * 4 * classes * height * width
    parameters = backbone_needs.parameters + head.parameters
    if network["freeze"]:
        return Needs(
            parameters=parameters,
            flops=head.flops // 2,
            saved_bytes=head.saved_bytes // 2,
            loss_bytes=loss_bytes,
            frozen_parameters=backbone_needs.parameters,
            frozen_flops=0 if cached else backbone_needs.flops // 2,
        )
    return Needs(
        parameters=parameters,
        flops=(backbone_needs.flops + head.flops) // 2,
        saved_bytes=(backbone_needs.saved_bytes + head.saved_bytes) // 2,
        loss_bytes=loss_bytes,
    )
