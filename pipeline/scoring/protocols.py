"""Predict by the protocols of an evaluation, a function each.

    whole         the image as it is, once
    sliding       windows that overlap
    multi_scale   the image in several sizes, optionally each mirrored too, whole or by windows

Images are (B, 3, H, W) uint8 on any device. The result is (B, classes, H, W) on the network's
device: logits for `whole`, probabilities for the others. Overlaps are averaged as probabilities,
not as logits, because these are bounded, so that no window or scale counts more than another.

Memory does not grow with the number of windows or scales. Let P = B * classes * 4 bytes. `sliding`
takes P * H * W for sums, of the image padded at least to the window, and at most 2 * P * h * w for
one window. `multi_scale` takes P * H * W for sums and at most 2 * P * H * W for one scale. If it
uses `sliding`, it also takes what that takes at the scale's size.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ann import SegmentationNetwork
from pipeline.scoring.sizes import Size, exceeds, scaled_size


def whole(network: SegmentationNetwork, images: Tensor, size: Size | None = None) -> Tensor:
    """Return logits of the images as they are, resized to `size`, by default the images' own."""
    logits, _ = network(images.to(network.mean.device))
    return _resize_maps(network, logits.float(), size or _size(images))


def whole_by_maps(network: SegmentationNetwork, maps: tuple[Tensor, Tensor], size: Size) -> Tensor:
    """Return what `whole` does, from the backbone's maps of the images."""
    stage4, stage5 = (values.to(network.mean.device) for values in maps)
    logits, _ = network((stage4, stage5))
    return _resize_maps(network, logits.float(), size)


def sliding(
    network: SegmentationNetwork,
    images: Tensor,
    window: Size,
    stride: Size,
    size: Size | None = None,
) -> Tensor:
    """Return the mean probabilities of windows `stride` apart, resized to `size`.

    The last windows are moved into the image. An image smaller than the window is padded with the
    mean colour on the right and below.

    Args:
        network: The network, in evaluation mode.
        images: The images (B, 3, H, W).
        window: Height and width of a window.
        stride: The distance between windows, down and across.
        size: Height and width of the result, by default the images' own.
    """
    padded = _pad(network, images, window)
    total = _make_sums(network, padded)
    count = total.new_zeros(total.shape[2:])
    for top in window_starts(padded.shape[2], window[0], stride[0]):
        for left in window_starts(padded.shape[3], window[1], stride[1]):
            rows, columns = slice(top, top + window[0]), slice(left, left + window[1])
            total[:, :, rows, columns] += whole(network, padded[:, :, rows, columns]).softmax(dim=1)
            count[rows, columns] += 1
    height, width = _size(images)
    return _resize_maps(network, total.div_(count)[:, :, :height, :width], size or (height, width))


def multi_scale(
    network: SegmentationNetwork,
    images: Tensor,
    scales: Sequence[float],
    flip: bool,
    window: Size | None = None,
    stride: Size | None = None,
) -> Tensor:
    """Return the mean probabilities of the images in each scale, at the images' own size.

    With `flip` each scale counts twice, as it is and mirrored. With a window, a scaled image that
    is higher or wider goes through `sliding`.
    """
    size, total = _size(images), _make_sums(network, images)
    for scale in scales:
        resized = resize(images, scale)
        for axes in ([], [3])[: 1 + flip]:  # as it is, mirrored
            view = resized.flip(axes)
            if window and stride and exceeds(_size(view), window):
                total += sliding(network, view, window, stride, size).flip(axes)
            else:
                total += whole(network, view, size).softmax(dim=1).flip(axes)
    return total.div_(len(scales) * (1 + flip))


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Return where windows start on an axis of at least their length; the last ends with it."""
    steps = -(-(length - window) // stride)
    return [min(i * stride, length - window) for i in range(steps + 1)]


def _size(images: Tensor) -> Size:
    return images.shape[2], images.shape[3]


def resize(images: Tensor, scale: float) -> Tensor:
    """Resize uint8 images, bilinear and antialiased; on the CPU, because CUDA resizes no uint8."""
    size = scaled_size(_size(images), scale)
    if size == _size(images):
        return images
    return F.interpolate(images.cpu(), size, mode="bilinear", antialias=True)


def _resize_maps(network: SegmentationNetwork, maps: Tensor, size: Size) -> Tensor:
    if size == _size(maps):
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=network.align_corners)


def _make_sums(network: SegmentationNetwork, images: Tensor) -> Tensor:
    """Return zeros (B, classes, H, W), float32, to add probabilities to."""
    shape = (len(images), network.classifier.out_channels, *_size(images))
    return torch.zeros(shape, device=network.mean.device)


def _pad(network: SegmentationNetwork, images: Tensor, window: Size) -> Tensor:
    """Pad images with the mean colour to at least the window's size."""
    height, width = _size(images)
    if height >= window[0] and width >= window[1]:
        return images
    colour = network.mean.round().to(images)  # as the training's padding
    shape = (len(images), 3, max(height, window[0]), max(width, window[1]))
    padded = colour.view(1, 3, 1, 1).expand(shape).clone()
    padded[:, :, :height, :width] = images
    return padded
