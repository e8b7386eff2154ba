"""The segmentation network of the paper (figure 2) and every variant of its ablation.

    backbone -> Stage4, Stage5 -> fusion -> 3x3 reduction -> context -> classifier
                Stage4 -> auxiliary classifier

fusion: none, common (Stage5 + ReLU(BN(Conv(Stage4)))), fnb or afnb.
context: none, nb, apnb, or a block of the caller's. ANN is afnb with apnb.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ann.backbone import Backbone, conv_bn_relu
from ann.blocks import BlockOptions, NonLocalBlock
from ann.noise import Dropout2d
from ann.sampling import Sampler

FUSIONS = ("none", "common", "fnb", "afnb")
CONTEXTS = ("none", "nb", "apnb")
ASYMMETRIC = ("afnb", "apnb")  # the blocks that sample, and so need sampling and pool_sizes
_FUSION, _CONTEXT, _AUX = range(1, 4)  # streams of randomness, one a user
Block = Callable[[int, BlockOptions], nn.Module]  # makes a module from maps of C channels to such

# Mean and standard deviation of RGB in 0..255 that torchvision's ImageNet weights expect.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
# The mean that the released code subtracts, from Caffe's ResNet weights; its BGR turned to RGB.
CAFFE_MEAN = (122.7717, 115.9465, 102.9801)
PIXELS = {"imagenet": (IMAGENET_MEAN, IMAGENET_STD), "caffe": (CAFFE_MEAN, (1.0, 1.0, 1.0))}


def pixel_statistics(pixels: str) -> dict[str, Tensor]:
    """The buffers that normalise RGB in 0..255: mean (3,) and variance (3,)."""
    mean, std = PIXELS[pixels]
    return {"mean": torch.tensor(mean), "variance": torch.tensor(std) ** 2}


class SegmentationNetwork(nn.Module):
    """Images (B, 3, H, W), RGB in 0..255 -> logits and auxiliary logits (B, classes, h, w).

    h and w are the feature map's size, the image's over the output stride; the caller resizes, with
    `align_corners`. stem, ceil_mode: see Backbone. aux_channels: of the auxiliary head; None is
    `channels`. pixels: the normalisation, one of PIXELS. options.bias is the reductions' also.
    context: one of CONTEXTS, or what makes a module for the slot from `channels` and `options`.
    """

    mean: Tensor
    variance: Tensor

    def __init__(
        self,
        classes: int,
        *,
        backbone: str,
        stem: str = "plain",
        ceil_mode: bool = False,
        output_stride: int = 8,
        widths: Sequence[int] | None = None,
        fusion: str = "none",
        context: str | Block = "none",
        sampling: str = "pyramid_average",
        pool_sizes: Sequence[int] = (1, 3, 6, 8),
        channels: int = 512,
        key_channels: int = 256,
        value_channels: int = 256,
        aux_channels: int | None = None,
        pixels: str = "imagenet",
        align_corners: bool = False,
        dropout: float = 0.0,
        options: BlockOptions | None = None,
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("fusion", fusion, FUSIONS),
            ("context", "none" if callable(context) else context, CONTEXTS),
            ("pixels", pixels, PIXELS),
        ):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")
        self.align_corners = align_corners
        for name, values in pixel_statistics(pixels).items():
            self.register_buffer(name, values)
        self.backbone = Backbone(
            backbone, output_stride=output_stride, stem=stem, ceil_mode=ceil_mode, widths=widths
        )
        low, high = self.backbone.stage4_channels, self.backbone.stage5_channels

        def block(name: str, width: int, low: int | None, relu: bool, stream: int) -> NonLocalBlock:
            return NonLocalBlock(
                width,
                low_channels=low,
                key_channels=key_channels,
                value_channels=value_channels,
                sampler=Sampler(sampling, pool_sizes, stream) if name in ASYMMETRIC else None,
                options=options,
                relu=relu,
                dropout=dropout,
                stream=stream << 8,  # apart from the sampler's
            )

        bias = options is not None and options.bias
        self.fusion: nn.Module | None = None
        if fusion == "common":
            self.fusion = nn.Sequential(*conv_bn_relu(low, high, 1, bias=bias))
        elif fusion != "none":
            self.fusion = block(fusion, high, low, False, _FUSION)
        self.reduce = nn.Sequential(*conv_bn_relu(high, channels, 3, bias=bias))
        self.context: nn.Module | None = None
        if callable(context):
            self.context = context(channels, options or BlockOptions())
            self.context_dropout = Dropout2d(dropout, _CONTEXT << 8)
        elif context != "none":
            self.context = block(context, channels, None, True, _CONTEXT)
        self.classifier = nn.Conv2d(channels, classes, 1)
        aux_channels = aux_channels or channels
        self.aux_reduce = nn.Sequential(*conv_bn_relu(low, aux_channels, 3, bias=bias))
        self.aux_dropout = Dropout2d(dropout, _AUX << 8)
        self.aux_classifier = nn.Conv2d(aux_channels, classes, 1)

    def forward(self, images: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """keys (B,): one int64 a sample, for dropout and random sampling (see ann.noise).

        The auxiliary logits are None in evaluation. A traced network (TorchScript, and the ONNX
        exporter with dynamo=False) returns (logits,), because TorchScript cannot return None.
        """
        # (images - mean) / std by batch norm's kernel, many times as fast as broadcasting. By
        # torch.batch_norm because F.batch_norm of PyTorch 2.11 refuses an eps of 0.
        mean, variance = self.mean, self.variance
        images = torch.batch_norm(
            images.to(mean.dtype), None, None, mean, variance, False, 0.0, 0.0, False
        )
        stage4, stage5 = self.backbone(images)
        x = stage5
        if isinstance(self.fusion, NonLocalBlock):
            x = self.fusion(stage5, stage4, keys)
        elif self.fusion is not None:
            x = stage5 + self.fusion(stage4)
        x = self.reduce(x)
        if isinstance(self.context, NonLocalBlock):
            x = self.context(x, keys=keys)
        elif self.context is not None:
            x = self.context_dropout(self.context(x), keys)
        logits = self.classifier(x)
        if not self.training:
            traced = torch.jit.is_tracing()  # type: ignore[attr-defined]
            return (logits,) if traced else (logits, None)  # type: ignore[return-value]
        aux = self.aux_dropout(self.aux_reduce(stage4), keys)
        return logits, self.aux_classifier(aux)
