"""The segmentation network of the paper (figure 2) and every variant of its ablation.

    backbone -> Stage4, Stage5 -> fusion -> 3x3 reduction -> context -> classifier
                Stage4 -> auxiliary classifier

fusion: none, common (Stage5 + ReLU(BN(Conv(Stage4)))), fnb or afnb.
context: none, nb, apnb, or a block of the caller's. The paper's ANN is afnb with apnb.
"""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from ann.backbone import conv_bn_relu, make_backbone
from ann.blocks import NonLocalBlock
from ann.noise import Dropout2d
from ann.options import BlockOptions
from ann.sampling import Sampler

FUSIONS = ("none", "common", "fnb", "afnb")
CONTEXTS = ("none", "nb", "apnb")
ASYMMETRIC = ("afnb", "apnb")  # these sample, and so need sampling and pool_sizes
_FUSION, _CONTEXT, _AUX = range(1, 4)  # streams of randomness, one a user
Block = Callable[[int, BlockOptions], nn.Module]  # it makes a module from and to C channels

# Mean and standard deviation of RGB in 0..255 that torchvision's ImageNet weights expect.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
# The mean that the released code subtracts, from Caffe's ResNet weights; its BGR turned to RGB.
CAFFE_MEAN = (122.7717, 115.9465, 102.9801)
PIXELS = {"imagenet": (IMAGENET_MEAN, IMAGENET_STD), "caffe": (CAFFE_MEAN, (1.0, 1.0, 1.0))}
OF_TIMM = "timm"  # what timm's configuration of the backbone says
Maps = tuple[Tensor, Tensor]  # Stage4 and Stage5


def pixel_statistics(pixels: str, backbone: nn.Module | None = None) -> dict[str, Tensor]:
    """Return the buffers that normalise RGB in 0..255: mean (3,) and variance (3,).

    Args:
        pixels: One of PIXELS, or OF_TIMM for a backbone of timm.
        backbone: The backbone.
    """
    known = getattr(backbone, "pixels", None)
    if (pixels == OF_TIMM) != (known is not None):
        allowed = OF_TIMM if known else " or ".join(PIXELS)
        raise ValueError(f"pixels must be {allowed} with this backbone, got {pixels!r}")
    mean, std = known or PIXELS[pixels]
    return {"mean": torch.tensor(mean), "variance": torch.tensor(std) ** 2}


class SegmentationNetwork(nn.Module):
    """A network of the paper's ablation, from images to logits.

    Args:
        classes: The number of classes.
        backbone: One of BACKBONES or timm/NAME. See Backbone for `stem`, `ceil_mode`,
            `output_stride` and `widths`, and TimmBackbone for `levels`.
        freeze: Whether the backbone stays as it is: it is always in evaluation mode and has no
            gradients.
        fusion: One of FUSIONS.
        context: One of CONTEXTS, or a function that makes a module from `channels` and `options`.
        sampling: How afnb and apnb sample, one of SAMPLINGS, with `pool_sizes`.
        channels: Channels after the reduction.
        key_channels: K of the blocks.
        value_channels: V of the blocks.
        aux_channels: Channels of the auxiliary head; None stands for `channels`.
        pixels: The normalisation of the images, one of PIXELS, or OF_TIMM.
        align_corners: How the caller shall resize the logits.
        dropout: The probability of dropout in the blocks and in the auxiliary head.
        options: The blocks' options. The reductions have a bias too if `options.bias` says so.

    Raises:
        ValueError: It names the argument and the allowed values.
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
        levels: Sequence[str] | None = None,
        freeze: bool = False,
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
            ("pixels", pixels, (*PIXELS, OF_TIMM)),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        self.align_corners = align_corners
        self.backbone = make_backbone(
            backbone,
            output_stride=output_stride,
            stem=stem,
            ceil_mode=ceil_mode,
            widths=widths,
            levels=levels,
        )
        for name, values in pixel_statistics(pixels, self.backbone).items():
            self.register_buffer(name, values)
        self.freeze = freeze
        if freeze:
            self.backbone.requires_grad_(False).eval()
        options = options or BlockOptions()
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

        bias = options.bias
        self.fusion: nn.Module | None = None
        if fusion == "common":
            self.fusion = nn.Sequential(*conv_bn_relu(low, high, 1, bias=bias))
        elif fusion != "none":
            self.fusion = block(fusion, high, low, options.fusion_relu, _FUSION)
        self.reduce = nn.Sequential(*conv_bn_relu(high, channels, 3, bias=bias))
        self.context: nn.Module | None = None
        if callable(context):
            self.context = context(channels, options)
            self.context_dropout = Dropout2d(dropout, _CONTEXT << 8)
        elif context != "none":
            self.context = block(context, channels, None, True, _CONTEXT)
        self.classifier = nn.Conv2d(channels, classes, 1)
        aux_channels = aux_channels or channels
        self.aux_reduce = nn.Sequential(*conv_bn_relu(low, aux_channels, 3, bias=bias))
        self.aux_dropout = Dropout2d(dropout, _AUX << 8)
        self.aux_classifier = nn.Conv2d(aux_channels, classes, 1)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.freeze:
            self.backbone.eval()
        return self

    def compute_maps(self, images: Tensor) -> Maps:
        """Return the backbone's maps, Stage4 and Stage5, of images (B, 3, H, W), RGB in 0..255."""
        # (images - mean) / std by batch norm's kernel, which is many times as fast as broadcasting.
        # F.batch_norm of PyTorch 2.11 refuses an eps of 0, so torch.batch_norm is called.
        mean, variance = self.mean, self.variance
        images = torch.batch_norm(
            images.to(mean.dtype), None, None, mean, variance, False, 0.0, 0.0, False
        )
        return self.backbone(images)

    def forward(
        self, images: Tensor | Maps, sample_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return logits and auxiliary logits of the feature map's size.

        A traced network (TorchScript, and the ONNX exporter with dynamo=False) returns (logits,),
        because TorchScript cannot return None.

        Args:
            images: (B, 3, H, W), RGB in 0..255, or the backbone's maps of them, as `compute_maps`
                returns them.
            sample_ids: (B,) int64, from which dropout and random sampling draw (see ann.noise).

        Returns:
            Both (B, classes, h, w), where h and w are H and W over the output stride. The auxiliary
            logits are None in evaluation.
        """
        if isinstance(images, Tensor):
            stage4, stage5 = self.compute_maps(images)
        else:
            stage4, stage5 = (features.to(self.mean.dtype) for features in images)
        x = stage5
        if isinstance(self.fusion, NonLocalBlock):
            x = self.fusion(stage5, stage4, sample_ids)
        elif self.fusion is not None:
            x = stage5 + self.fusion(stage4)
        x = self.reduce(x)
        if isinstance(self.context, NonLocalBlock):
            x = self.context(x, sample_ids=sample_ids)
        elif self.context is not None:
            x = self.context_dropout(self.context(x), sample_ids)
        logits = self.classifier(x)
        if not self.training:
            traced = torch.jit.is_tracing()  # type: ignore[attr-defined]
            return (logits,) if traced else (logits, None)  # type: ignore[return-value]
        aux = self.aux_dropout(self.aux_reduce(stage4), sample_ids)
        return logits, self.aux_classifier(aux)
