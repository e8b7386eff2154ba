"""The two published networks by hand: plain functions over tensors that have the published names.

Written from what is told of them, not from ann: the authors' with BGR minus a mean, biases, a deep
stem and a max pool that rounds up; mmsegmentation's with RGB by mean and deviation.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


class Named(dict[str, Tensor]):
    """Tensors by name, and which of them were read."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__(tensors)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self.read.add(name)
        return super().__getitem__(name)

    def has_bias(self, name: str) -> bool:
        return f"{name}.bias" in self


def conv(t: Named, name: str, x: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    weight = t[f"{name}.weight"]
    bias = t[f"{name}.bias"] if t.has_bias(name) else None
    padding = dilation * (weight.shape[2] // 2)
    return F.conv2d(x, weight, bias, stride, padding, dilation)


def norm(t: Named, name: str, x: Tensor) -> Tensor:
    mean, variance = t[f"{name}.running_mean"], t[f"{name}.running_var"]
    return F.batch_norm(x, mean, variance, t[f"{name}.weight"], t[f"{name}.bias"])


def conv_norm(t: Named, names: tuple[str, str], x: Tensor, stride: int = 1) -> Tensor:
    return norm(t, names[1], conv(t, names[0], x, stride))


def resnet101(t: Named, x: Tensor) -> tuple[Tensor, Tensor]:
    """Stage4 and Stage5 at stride 8, from the stem's output."""
    stage4 = x
    # blocks, stride and dilation of the first block, dilation of the others
    for stage, (blocks, stride, first, rate) in enumerate(
        ((3, 1, 1, 1), (4, 2, 1, 1), (23, 1, 1, 2), (3, 1, 2, 4)), start=1
    ):
        for i in range(blocks):
            name = f"backbone.layer{stage}.{i}."
            s, d = (1, rate) if i else (stride, first)
            y = conv_norm(t, (name + "conv1", name + "bn1"), x).relu()
            y = norm(t, name + "bn2", conv(t, name + "conv2", y, s, d)).relu()
            y = conv_norm(t, (name + "conv3", name + "bn3"), y)
            if i == 0:
                x = conv_norm(t, (name + "downsample.0", name + "downsample.1"), x, s)
            x = (y + x).relu()
        if stage == 3:
            stage4 = x
    return stage4, x


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(query key / 16) value, key and value averaged to 1, 9, 36 and 64 cells."""
    key, value = (
        torch.cat([F.adaptive_avg_pool2d(x, n).flatten(2) for n in (1, 3, 6, 8)], dim=2)
        for x in (key, value)
    )
    weights = (query.flatten(2).transpose(1, 2) @ key / 16).softmax(dim=2)
    return (weights @ value.transpose(1, 2)).transpose(1, 2).unflatten(2, query.shape[2:])


def stem(t: Named, x: Tensor, names: list[tuple[str, str]], ceil_mode: bool) -> Tensor:
    for i, pair in enumerate(names):
        x = conv_norm(t, pair, x, stride=1 if i else 2).relu()
    return F.max_pool2d(x, 3, 2, 1, ceil_mode=ceil_mode)


def authors(t: Named, images: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Logits and auxiliary logits of RGB images."""

    def embed(name: str, x: Tensor) -> Tensor:
        return conv_norm(t, (f"{name}.0", f"{name}.1.0"), x).relu()

    def block(name: str, x: Tensor, source: Tensor) -> Tensor:
        value = conv(t, name + "f_value", source)
        seen = attention(embed(name + "f_query", x), embed(name + "f_key", source), value)
        return torch.cat([conv(t, name + "W", seen), x], dim=1)

    bgr = images.flip(1).to(dtype)
    bgr = bgr - torch.tensor([102.9801, 115.9465, 122.7717], dtype=dtype).view(3, 1, 1)
    names = [(f"backbone.prefix.conv{i}", f"backbone.prefix.bn{i}") for i in (1, 2, 3)]
    low, high = resnet101(t, stem(t, bgr, names, ceil_mode=True))
    aux = conv(t, "dsn.3", embed("dsn", low))
    fused = block("fusion.stages.0.", high, low)
    fused = conv_norm(t, ("fusion.conv_bn_dropout.0", "fusion.conv_bn_dropout.1"), fused)
    x = conv_norm(t, ("context.0", "context.1.0"), fused).relu()
    x = embed("context.2.conv_bn_dropout", block("context.2.stages.0.", x, x))
    return conv(t, "cls", x), aux


def mmseg(t: Named, images: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Logits and auxiliary logits of RGB images."""

    def module(name: str, x: Tensor) -> Tensor:
        return conv_norm(t, (f"{name}.conv", f"{name}.bn"), x)

    def block(name: str, x: Tensor, source: Tensor) -> Tensor:
        one = name + ".stages.0."
        query, key = module(one + "query_project", x), module(one + "key_project", source)
        seen = attention(query.relu(), key.relu(), conv(t, one + "value_project", source))
        return module(name + ".bottleneck", torch.cat([conv(t, one + "out_project", seen), x], 1))

    mean = torch.tensor([123.675, 116.28, 103.53], dtype=dtype).view(3, 1, 1)
    deviation = torch.tensor([58.395, 57.12, 57.375], dtype=dtype).view(3, 1, 1)
    names = [(f"backbone.stem.{i}", f"backbone.stem.{i + 1}") for i in (0, 3, 6)]
    x = stem(t, (images.to(dtype) - mean) / deviation, names, ceil_mode=False)
    low, high = resnet101(t, x)
    aux = conv(t, "auxiliary_head.conv_seg", module("auxiliary_head.convs.0", low).relu())
    x = block("decode_head.fusion", high, low)
    x = module("decode_head.bottleneck", x).relu()
    x = block("decode_head.context", x, x).relu()
    return conv(t, "decode_head.conv_seg", x), aux


NETWORKS: dict[str, Callable[[Named, Tensor, torch.dtype], tuple[Tensor, Tensor]]] = {
    "authors": authors,
    "mmseg": mmseg,
}
CLASSIFIERS = {"authors": "cls.bias", "mmseg": "decode_head.conv_seg.bias"}
ALIGN_CORNERS = {"authors": True, "mmseg": False}
MAPS = {"authors": (9, 10), "mmseg": (8, 9)}  # of images of 64x72
