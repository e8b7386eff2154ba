"""Backbones, the network of every variant, and the loss."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet

from ann import (
    BACKBONES,
    CONTEXTS,
    FUSIONS,
    STEMS,
    Backbone,
    BlockOptions,
    Ohem,
    SegmentationNetwork,
    segmentation_loss,
)
from ann.loss import at_centres, cross_entropy
from ann.network import IMAGENET_MEAN, IMAGENET_STD

WIDTHS = (4, 4, 8, 8)
SMALL = {
    "widths": WIDTHS,
    "channels": 8,
    "key_channels": 4,
    "value_channels": 4,
    "pool_sizes": (1, 3),
}


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_backbone_has_the_output_stride(name: str, stride: int) -> None:
    widths = WIDTHS if name == "small" else None
    backbone = Backbone(name, output_stride=stride, widths=widths).eval()
    with torch.inference_mode():
        stage4, stage5 = backbone(torch.zeros(1, 3, 65, 96))
    assert stage5.shape == (1, backbone.stage5_channels, -(-65 // stride), -(-96 // stride))
    assert stage4.shape[1] == backbone.stage4_channels
    assert stage4.shape[2] == -(-65 // min(stride, 16))


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_backbone_equals_torchvisions_dilated_resnet(name: str) -> None:
    theirs = getattr(resnet, name)(replace_stride_with_dilation=[False, True, True]).eval()
    ours = Backbone(name).eval()
    pairs = {
        "stem.0": theirs.conv1,
        "stem.1": theirs.bn1,
        **{f"layer{i}": getattr(theirs, f"layer{i}") for i in (1, 2, 3, 4)},
    }
    for path, module in pairs.items():
        ours.get_submodule(path).load_state_dict(module.state_dict())
    x = torch.randn(1, 3, 65, 97)
    with torch.inference_mode():
        low = theirs.layer2(theirs.layer1(theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))))
        stage4 = theirs.layer3(low)
        assert torch.equal(ours(x)[0], stage4)
        assert torch.equal(ours(x)[1], theirs.layer4(stage4))


def test_dilations_are_the_released_ones() -> None:
    backbone = Backbone("resnet50", stem="deep")

    def rates(stage: nn.Module) -> list[int]:
        convs = [m for m in stage.modules() if isinstance(m, nn.Conv2d)]
        return [c.dilation[0] for c in convs if c.kernel_size == (3, 3)]

    assert rates(backbone.layer3) == [1, 2, 2, 2, 2, 2]
    assert rates(backbone.layer4) == [2, 4, 4]
    stem = [m.out_channels for m in backbone.stem.modules() if isinstance(m, nn.Conv2d)]
    assert stem == [64, 64, 128]


@pytest.mark.parametrize("stem", STEMS)
def test_resnet18_takes_every_stem(stem: str) -> None:
    images = torch.zeros(2, 3, 64, 128)
    assert Backbone("resnet18", stem=stem)(images)[1].shape == (2, 512, 8, 16)
    assert Backbone("resnet18", stem=stem, ceil_mode=True)(images)[1].shape == (2, 512, 9, 17)


def test_bias_and_the_auxiliary_width_reach_their_convolutions() -> None:
    def biases(bias: bool) -> set[str]:
        options = BlockOptions(embedding_norm=True, bias=bias)
        network = SegmentationNetwork(
            5,
            backbone="small",
            fusion="afnb",
            context="apnb",
            aux_channels=6,
            options=options,
            **SMALL,  # type: ignore[arg-type]
        )
        assert network.aux_reduce[0].weight.shape[0] == 6  # type: ignore[union-attr]
        assert network.reduce[0].weight.shape[0] == 8  # type: ignore[union-attr]
        named = network.named_modules()
        return {n for n, m in named if isinstance(m, nn.Conv2d) and m.bias is not None}

    blocks = {"fusion.query.0", "fusion.key.0", "fusion.fuse.0", "context.query.0"}
    blocks |= {"context.key.0", "context.fuse.0", "reduce.0", "aux_reduce.0"}
    assert biases(True) - biases(False) == blocks


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("context", CONTEXTS)
def test_every_variant_trains_every_parameter(fusion: str, context: str) -> None:
    torch.manual_seed(0)
    network = SegmentationNetwork(
        5, backbone="small", fusion=fusion, context=context, dropout=0.1, **SMALL
    )
    images = torch.randint(0, 256, (2, 3, 64, 48), dtype=torch.uint8)
    logits, aux = network(images, torch.tensor([1, 2]))
    assert aux is not None
    assert logits.shape == aux.shape == (2, 5, 8, 6)
    labels = torch.randint(0, 5, (2, 64, 48))
    loss, _ = segmentation_loss(logits, aux, labels)
    loss.backward()
    without = [n for n, p in network.named_parameters() if p.grad is None]
    assert without == []
    logits, aux = network.eval()(images)
    assert aux is None


def test_images_are_normalised_as_imagenets_weights_expect() -> None:
    network = SegmentationNetwork(2, backbone="small", **SMALL).eval()
    seen: list[torch.Tensor] = []
    network.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    network(images)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close(seen[0], (images - mean) / std)


def test_unknown_parts_are_refused() -> None:
    for settings, message in (
        ({"backbone": "vgg"}, "backbone must be one of small, resnet18"),
        ({"backbone": "small"}, "widths must be four for small"),
        ({"backbone": "resnet18", "widths": WIDTHS}, "None for others"),
        ({"backbone": "small", "fusion": "sum"}, "fusion must be one of none"),
        ({"backbone": "small", "context": "dnl"}, "context must be one of none, nb, apnb"),
        ({"backbone": "small", "pixels": "bgr"}, "pixels must be one of imagenet, caffe"),
    ):
        with pytest.raises(ValueError, match=message):
            SegmentationNetwork(2, **settings)


def test_loss_is_torchs_on_valid_pixels() -> None:
    torch.manual_seed(0)
    logits, aux = torch.randn(2, 4, 6, 5), torch.randn(2, 4, 6, 5)
    labels = torch.randint(0, 4, (2, 6, 5))
    labels[0, :3] = 255
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    loss, final = segmentation_loss(logits, aux, labels, aux_weight=0.4, class_weights=weights)
    expected = [F.cross_entropy(x, labels, weights, ignore_index=255) for x in (logits, aux)]
    torch.testing.assert_close(final, expected[0])
    torch.testing.assert_close(loss, expected[0] + 0.4 * expected[1])
    assert cross_entropy(logits, torch.full_like(labels, 255)) == 0


@pytest.mark.parametrize("corners", [False, True])
def test_logits_are_upsampled_to_the_labels(corners: bool) -> None:
    logits, labels = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 30, 32))
    _, final = segmentation_loss(logits, logits, labels, align_corners=corners)
    big = F.interpolate(logits, (30, 32), mode="bilinear", align_corners=corners)
    torch.testing.assert_close(final, F.cross_entropy(big, labels))


@pytest.mark.parametrize("min_kept", [1, 20, 10_000])
def test_ohem_keeps_the_hard_pixels(min_kept: int) -> None:
    torch.manual_seed(0)
    logits, labels = 3 * torch.randn(2, 4, 8, 9), torch.randint(0, 4, (2, 8, 9))
    labels[0, 0] = 255
    probability = logits.softmax(1).gather(1, labels.where(labels < 4, 0)[:, None])[:, 0]
    valid = labels != 255
    ranked = np.sort(probability[valid].numpy())
    threshold = max(0.6, ranked[min(min_kept, len(ranked)) - 1])
    kept = valid & (probability <= threshold)
    each = F.cross_entropy(logits, labels, ignore_index=255, reduction="none")
    result = cross_entropy(logits, labels, ohem=Ohem(0.6, min_kept))
    torch.testing.assert_close(result, each[kept].mean())


def test_cell_centres() -> None:
    labels = torch.arange(16 * 24).view(1, 16, 24)
    assert torch.equal(at_centres(labels, torch.Size([2, 3])), labels[:, 4::8, 4::8])
    assert torch.equal(at_centres(labels, torch.Size([16, 24])), labels)
