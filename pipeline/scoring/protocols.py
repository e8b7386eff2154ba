"""The protocols by which a network is evaluated, each a plain function.

    whole         the image as it is, once
    sliding       windows that overlap
    multi_scale   the image in several sizes, each mirrored too if wanted, whole or by windows

Images are (B, 3, H, W) uint8 on any device, the result is (B, classes, H, W) on the network's:
logits for `whole`, probabilities for the others. What overlaps is averaged as probabilities, not
as logits: these are bounded, so that no window or scale counts more than another.

Memory does not grow with the number of windows or scales. With P = B * classes * 4 bytes, `sliding`
holds P * H * W of sums, of the image padded to the window at least, and at most 2 * P * h * w of
one window. `multi_scale` holds P * H * W of sums, at most 2 * P * H * W of one scale, and what
`sliding` holds at that scale's size if it is used.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ann import SegmentationNetwork
from pipeline.scoring.shown import Size, exceeds, scaled_size


def whole(network: SegmentationNetwork, images: Tensor, size: Size | None = None) -> Tensor:
    """Logits of the images as they are, resized to `size`, which is their own if not given."""
    logits, _ = network(images.to(network.mean.device))
    return _resized(network, logits.float(), size or _size(images))


def sliding(
    network: SegmentationNetwork,
    images: Tensor,
    window: Size,
    stride: Size,
    size: Size | None = None,
) -> Tensor:
    """The mean probabilities of windows `stride` apart, the last ones moved into the image.

    They are resized to `size`, the images' own if not given. An image smaller than the window is
    filled up with the mean colour, on the right and below.
    """
    padded = _padded(network, images, window)
    total = _sums(network, padded)
    count = total.new_zeros(total.shape[2:])
    for top in starts(padded.shape[2], window[0], stride[0]):
        for left in starts(padded.shape[3], window[1], stride[1]):
            rows, columns = slice(top, top + window[0]), slice(left, left + window[1])
            total[:, :, rows, columns] += whole(network, padded[:, :, rows, columns]).softmax(dim=1)
            count[rows, columns] += 1
    height, width = _size(images)
    return _resized(network, total.div_(count)[:, :, :height, :width], size or (height, width))


def multi_scale(
    network: SegmentationNetwork,
    images: Tensor,
    scales: Sequence[float],
    flip: bool,
    window: Size | None = None,
    stride: Size | None = None,
) -> Tensor:
    """The mean probabilities of the images in each scale, at the images' own size.

    With `flip` each scale counts twice, as it is and mirrored. With a window, a scaled image that
    is higher or wider goes through `sliding`.
    """
    size, total = _size(images), _sums(network, images)
    for scale in scales:
        resized = scaled(images, scale)
        for axes in ([], [3])[: 1 + flip]:  # as it is, mirrored
            view = resized.flip(axes)
            if window and stride and exceeds(_size(view), window):
                total += sliding(network, view, window, stride, size).flip(axes)
            else:
                total += whole(network, view, size).softmax(dim=1).flip(axes)
    return total.div_(len(scales) * (1 + flip))


def starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows start on an axis of at least their length; the last one ends with it."""
    steps = -(-(length - window) // stride)
    return [min(i * stride, length - window) for i in range(steps + 1)]


def _size(images: Tensor) -> Size:
    return images.shape[2], images.shape[3]


def scaled(images: Tensor, scale: float) -> Tensor:
    """In another size, uint8, bilinear, antialiased; on the CPU, for CUDA resizes no uint8."""
    size = scaled_size(_size(images), scale)
    if size == _size(images):
        return images
    return F.interpolate(images.cpu(), size, mode="bilinear", antialias=True)


def _resized(network: SegmentationNetwork, maps: Tensor, size: Size) -> Tensor:
    if size == _size(maps):
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=network.align_corners)


def _sums(network: SegmentationNetwork, images: Tensor) -> Tensor:
    """Zeros (B, classes, H, W), float32."""
    shape = (len(images), network.classifier.out_channels, *_size(images))
    return torch.zeros(shape, device=network.mean.device)


def _padded(network: SegmentationNetwork, images: Tensor, window: Size) -> Tensor:
    """At least of the window's size; what is new has the mean colour."""
    height, width = _size(images)
    if height >= window[0] and width >= window[1]:
        return images
    colour = network.mean.round().to(images)  # as the training's padding
    shape = (len(images), 3, max(height, window[0]), max(width, window[1]))
    padded = colour.view(1, 3, 1, 1).expand(shape).clone()
    padded[:, :, :height, :width] = images
    return padded
