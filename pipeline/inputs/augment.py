"""Augmentation of the released recipe: resize, crop, brightness, flip.

The crop's window is chosen first and only that window is resampled. All that is random comes
from the generator, in a fixed order, so a sample is a function of (seed, iteration, slot).
"""

import math

import numpy as np
from PIL import Image

from ann.network import IMAGENET_MEAN
from pipeline.common.params import Augment
from pipeline.datasets.base import IGNORE
from pipeline.inputs.store import Sample

_BILINEAR = Image.Resampling.BILINEAR
_PADDING = np.round(IMAGENET_MEAN).astype(np.uint8)  # zero after normalisation


def augment(sample: Sample, settings: Augment, rng: np.random.Generator) -> Sample:
    """A crop of `settings.crop`, (height, width); beyond the image it is mean colour and IGNORE."""
    scale, aspect = rng.uniform(*settings.scale), math.sqrt(rng.uniform(*settings.aspect))
    place = rng.random(2)
    shift = rng.integers(-settings.brightness, settings.brightness, endpoint=True)
    flip = rng.random() < settings.hflip

    height, width = sample.label.shape
    size = max(1, round(height * scale / aspect)), max(1, round(width * scale * aspect))
    image, label = _window(sample, size, settings.crop, place)
    if shift:
        image = (image.astype(np.int16) + shift).clip(0, 255).astype(np.uint8)
    if flip:
        image, label = image[:, ::-1], label[:, ::-1]
    return Sample(image, label)


def _window(
    sample: Sample, size: tuple[int, int], crop: tuple[int, int], place: np.ndarray
) -> Sample:
    """The crop of the sample resized to `size`, at `place` in 0..1 of the room there is."""
    if size == sample.label.shape == crop:
        return sample
    boxes = []  # for each axis: from and to in the resized image, and where that starts in the crop
    for full, wanted, where in zip(size, crop, place, strict=True):
        start = math.floor(where * (full - wanted + 1)) if full > wanted else 0
        pad = math.floor(where * (wanted - full + 1)) if wanted > full else 0
        boxes.append((start, start + min(full, wanted), pad))
    (top, bottom, down), (left, right, across) = boxes

    rows, columns = (a / b for a, b in zip(sample.label.shape, size, strict=True))
    box = (left * columns, top * rows, right * columns, bottom * rows)
    window = (right - left, bottom - top)
    image = np.asarray(Image.fromarray(sample.image).resize(window, _BILINEAR, box))
    nearest = (
        (np.arange(start, end) * 2 + 1) * source // (2 * full)  # exact, unlike a float box
        for start, end, source, full in zip(
            (top, left), (bottom, right), sample.label.shape, size, strict=True
        )
    )
    label = sample.label[np.ix_(*nearest)]
    if label.shape == crop:
        return Sample(image, label)
    inside = slice(down, down + len(label)), slice(across, across + label.shape[1])
    padded = Sample(np.tile(_PADDING, (*crop, 1)), np.full(crop, IGNORE, np.uint8))
    padded.image[inside], padded.label[inside] = image, label
    return padded
