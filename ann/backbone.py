"""The backbones by name: dilated ResNets of torchvision, a small one, and timm's models.

Output stride 8 as in the paper: the strides of the last stages become dilations. The names of
the stages are the paper's: Stage4 is torchvision's layer3, Stage5 its layer4.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ann.timm_backbone import PREFIX, TimmBackbone

SMALL = "small"
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")
BACKBONES = (SMALL, *RESNETS)
DEEP_STEMS = {"deep": (64, 64, 128), "deep64": (32, 32, 64)}  # of three 3x3 convolutions
STEMS = ("plain", *DEEP_STEMS)
STRIDES = (1, 2, 2, 2)  # of the four stages


class Residual(nn.Module):
    """The basic residual block: two 3x3 convolutions and a shortcut.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        stride: The stride of the first convolution and of the shortcut.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's map: (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.bn1(self.conv1(x)).relu_()
        return (self.bn2(self.conv2(x)) + shortcut).relu_()


def conv_bn_relu(
    inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = False
) -> list[nn.Module]:
    """Return a convolution that keeps the map's size at stride 1, batch norm and ReLU.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        kernel: Height and width of the kernel, an odd number.
        stride: The convolution's stride.
        bias: Whether the convolution has a bias.
    """
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def dilate(stages: list[nn.Module], output_stride: int) -> None:
    """Turn the strides beyond `output_stride` into dilations.

    The first block of a stage that loses its stride keeps the dilation before it, as in
    torchvision and the released code: layer3 is 1, 2, 2, ... and layer4 2, 4, 4.

    Args:
        stages: The four stages, which start at stride 4. They are changed in place.
        output_stride: The stride of the last stage.
    """
    stride, dilation = 4, 1
    for stage, factor in zip(stages, STRIDES, strict=True):
        previous = dilation
        if stride * factor > output_stride:
            dilation *= factor
        else:
            stride *= factor
        for i, block in enumerate(stage.children()):
            rate = previous if i == 0 else dilation
            for conv in block.modules():
                if isinstance(conv, nn.Conv2d):
                    if dilation > 1:
                        conv.stride = (1, 1)
                    if conv.kernel_size == (3, 3):
                        conv.dilation = conv.padding = (rate, rate)


class Backbone(nn.Module):
    """A ResNet that returns Stage4 and Stage5.

    The ResNets of torchvision need torchvision, which is imported only for them. The small one has
    a single 3x3 convolution in its stem and one basic block a stage.

    Args:
        name: One of BACKBONES.
        output_stride: The stride of Stage4 and Stage5.
        stem: "plain" is torchvision's 7x7 convolution. "deep" is three 3x3 convolutions of 64, 64
            and 128 channels, as in the released code. "deep64" has 32, 32 and 64, as in
            mmsegmentation.
        ceil_mode: Whether the stem's max pool rounds up, as in the released code: a 64x128 image
            then has maps of 9x17.
        widths: Channels of the small one's four stages; None for the others.

    Raises:
        ValueError: It names the argument and the allowed values.
        ImportError: The backbone needs torchvision, and it is not installed.
    """

    def __init__(
        self,
        name: str,
        *,
        output_stride: int = 8,
        stem: str = "plain",
        ceil_mode: bool = False,
        widths: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if name not in BACKBONES:
            raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, got {name!r}")
        if stem not in STEMS:
            raise ValueError(f"stem must be one of {', '.join(STEMS)}, got {stem!r}")
        if (name == SMALL) != (widths is not None) or len(widths or STRIDES) != len(STRIDES):
            raise ValueError(f"widths must be four for {SMALL} and None for others, got {widths}")
        if widths is not None:
            layers, stages = self._small(widths)
        else:
            layers, stages = self._resnet(name, stem)
        self.stem = nn.Sequential(*layers, nn.MaxPool2d(3, 2, 1, ceil_mode=ceil_mode))
        dilate(stages, output_stride)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.stage4_channels, self.stage5_channels = (
            [m for m in stage.modules() if isinstance(m, nn.BatchNorm2d)][-1].num_features
            for stage in stages[2:]
        )

    @staticmethod
    def _small(widths: Sequence[int]) -> tuple[list[nn.Module], list[nn.Module]]:
        first = widths[0]
        layers = conv_bn_relu(3, first, 3, 2)
        stages: list[nn.Module] = [
            nn.Sequential(Residual(i, o, stride))
            for i, o, stride in zip((first, *widths[:-1]), widths, STRIDES, strict=True)
        ]
        for module in nn.ModuleList([*layers, *stages]).modules():
            if isinstance(module, nn.Conv2d):  # as in torchvision's ResNets
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        return layers, stages

    @staticmethod
    def _resnet(name: str, stem: str) -> tuple[list[nn.Module], list[nn.Module]]:
        try:
            from torchvision.models import resnet  # it takes seconds to import
        except ImportError as error:
            raise ImportError(
                f"backbone {name} needs torchvision; install it, or use backbone {SMALL}"
            ) from error
        net = getattr(resnet, name)(weights=None)
        layers: list[nn.Module] = [net.conv1, net.bn1, net.relu]
        if stem in DEEP_STEMS:
            a, b, c = DEEP_STEMS[stem]
            layers = [
                *conv_bn_relu(3, a, 3, 2),
                *conv_bn_relu(a, b, 3),
                *conv_bn_relu(b, c, 3),
            ]
            first = net.layer1[0]
            if c != first.conv1.in_channels:
                first.conv1 = _replace_inputs(first.conv1, c)
                if first.downsample is None:
                    first.downsample = nn.Sequential(
                        nn.Conv2d(c, 64, 1, bias=False), nn.BatchNorm2d(64)
                    )
                else:
                    first.downsample[0] = _replace_inputs(first.downsample[0], c)
        return layers, [net.layer1, net.layer2, net.layer3, net.layer4]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return Stage4 and Stage5 of normalised images (B, 3, H, W)."""
        stage4 = self.layer3(self.layer2(self.layer1(self.stem(x))))
        return stage4, self.layer4(stage4)


def _replace_inputs(conv: nn.Conv2d, inputs: int) -> nn.Conv2d:
    """Return a new convolution like `conv` for `inputs` channels."""
    kernel, stride, padding = conv.kernel_size, conv.stride, conv.padding
    return nn.Conv2d(inputs, conv.out_channels, kernel, stride, padding, bias=False)  # type: ignore[arg-type]


def make_backbone(
    name: str, *, levels: Sequence[str] | None = None, output_stride: int = 8, **options: Any
) -> Backbone | TimmBackbone:
    """Return a backbone by its name.

    Args:
        name: One of BACKBONES, or timm/NAME.
        levels: Of a model of timm; None for the others.
        output_stride: The stride of Stage4 and Stage5.
        options: The other arguments of Backbone; a model of timm takes none of them.
    """
    if name.startswith(PREFIX):
        return TimmBackbone(name, output_stride=output_stride, levels=levels)
    if levels is not None:
        raise ValueError(f"levels must be None without a backbone of timm, got {list(levels)}")
    return Backbone(name, output_stride=output_stride, **options)
