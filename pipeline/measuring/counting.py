"""What a forward pass needs, counted on the meta device: nothing is computed or allocated.

What the library keeps from call to call has no values here, so count in a process of its own.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.common import checkpoint, params
from pipeline.common.files import digest
from pipeline.measuring.process import Row
from pipeline.training.recipe import training_loss

_BACKBONE = ("backbone", "stem", "ceil_mode", "output_stride", "widths")
Maps = tuple[Tensor, Tensor]


def counted(network: nn.Module, call: Callable[[], object], known: Iterable[Tensor] = ()) -> Row:
    """The network's parameters, the operations of the call by PyTorch's counter, two a
    multiply-add, and the bytes that autograd keeps beyond the network's own and the known ones."""
    own = [*network.parameters(), *network.buffers(), *known]
    others = {tensor.untyped_storage()._cdata for tensor in own}
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no two get the same address

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in others:
            kept[storage._cdata] = storage
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with torch.device("meta"), FlopCounterMode(display=False) as counter, hooks:
        call()
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "flops": counter.get_total_flops(),
        "saved_bytes": sum(storage.nbytes() for storage in kept.values()),
    }


class _Known(nn.Module):
    """Stands for a backbone whose maps are known."""

    def __init__(self, maps: Maps) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, _: Tensor) -> Maps:
        return self.maps


def training_needs(
    network: Row, classes: int, train: params.Train, backbones: dict[str, tuple[Row, Maps]]
) -> Row:
    """`counted` for the forward pass of one image and its loss in training: half of what two need,
    for batch norm over a map of one position refuses a single image.

    The blocks are in the plain form, and the loss is without mining of hard pixels, which keeps
    nothing. `backbones` remembers the passes of backbones: they are most of the work.
    """
    low = train.precision != "float32"
    network = network | {"options": network["options"] | {"form": "plain"}}
    with torch.device("meta"):
        model = checkpoint.build(network, classes).train()
        model = model.bfloat16() if low else model
        image = torch.zeros(2, 3, *train.augment.crop, dtype=model.mean.dtype)
        labels = torch.zeros(2, *train.augment.crop, dtype=torch.int64)
        keys = torch.zeros(2, dtype=torch.int64)
    name = digest([[network.get(key) for key in _BACKBONE], train.augment.crop, low])
    if name not in backbones:
        maps: list[Tensor] = []
        found = counted(model.backbone, lambda: maps.extend(model.backbone(image)))
        backbones[name] = found, (maps[0].detach(), maps[1].detach())
    first, known = backbones[name]
    model.backbone = _Known(known)  # type: ignore[assignment]
    loss = train.loss.model_copy(update={"ohem": None})

    def call() -> None:
        logits, aux = model(image, keys)
        align = model.align_corners
        training_loss(loss, logits, aux, labels, class_weights=None, align_corners=align)

    head = counted(model, call, known)
    whole = {key: first[key] + head[key] for key in first}
    return whole | {key: whole[key] // 2 for key in ("flops", "saved_bytes")}
