"""Predict by the protocols of an evaluation, a function each.

    whole         the image as it is, once
    sliding       windows that overlap
    multi_scale   the image in several sizes, optionally each mirrored too, whole or by windows

Images are (B, 3, H, W) uint8 on any device. The result is (B, classes, H, W) on the network's
device: logits for `whole`, probabilities for the others. Overlaps are averaged as probabilities,
not as logits, because these are bounded, so that no window or scale counts more than another.

Memory does not grow with the number of windows or scales. Let P = B * classes * 4 bytes. `sliding`
takes P * H * W for sums, of the image padded at least to the window, and at most 2 * P * h * w for
each window that the network takes at once. `multi_scale` takes P * H * W for sums and at most
2 * P * H * W for one scale. If it uses `sliding`, it also takes what that takes at the scale's
size.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ann import SegmentationNetwork
from pipeline.scoring.sizes import Size, exceeds, scaled_size


def whole(network: SegmentationNetwork, images: Tensor, size: Size | None = None) -> Tensor:
    """Return logits of the images as they are, resized to `size`, by default the images' own."""
    logits, _ = network(send(images, network.mean.device))
    return _resize_maps(network, logits.float(), size or _size(images))


def whole_by_maps(network: SegmentationNetwork, maps: tuple[Tensor, Tensor], size: Size) -> Tensor:
    """Return what `whole` does, from the backbone's maps of the images."""
    stage4, stage5 = (send(values, network.mean.device) for values in maps)
    logits, _ = network((stage4, stage5))
    return _resize_maps(network, logits.float(), size)


def sliding(
    network: SegmentationNetwork,
    images: Tensor,
    window: Size,
    stride: Size,
    size: Size | None = None,
    at_once: int = 1,
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
        at_once: How many windows the network takes at once.
    """
    padded = _pad(network, send(images, network.mean.device), window)
    total = _make_sums(network, padded)
    count = total.new_zeros(total.shape[2:])
    places = [
        (slice(top, top + window[0]), slice(left, left + window[1]))
        for top in window_starts(padded.shape[2], window[0], stride[0])
        for left in window_starts(padded.shape[3], window[1], stride[1])
    ]
    for first in range(0, len(places), at_once):
        some = places[first : first + at_once]
        windows = torch.cat([padded[:, :, rows, columns] for rows, columns in some])
        scores = whole(network, windows).softmax(dim=1).split(len(images))
        for (rows, columns), score in zip(some, scores, strict=True):
            total[:, :, rows, columns] += score
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
    at_once: int = 1,
) -> Tensor:
    """Return the mean probabilities of the images in each scale, at the images' own size.

    Args:
        network: The network, in evaluation mode.
        images: The images (B, 3, H, W).
        scales: The factors of height and width.
        flip: Whether each scale counts twice, as it is and mirrored.
        window: A scaled image that is higher or wider goes through `sliding`, if there is a window.
        stride: The distance between windows.
        at_once: How many windows the network takes at once.
    """
    size, total = _size(images), _make_sums(network, images)
    for scale in scales:
        resized = send(resize(images, scale), network.mean.device)
        for axes in ([], [3])[: 1 + flip]:  # as it is, mirrored
            view = resized.flip(axes)
            if window and stride and exceeds(_size(view), window):
                total += sliding(network, view, window, stride, size, at_once).flip(axes)
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


def send(x: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device, without waiting for what the device has to do before."""
    if device.type == "cuda" and not x.is_cuda:
        x = x.pin_memory()
    return x.to(device, non_blocking=True)


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
