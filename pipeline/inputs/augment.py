"""Augmentation: resize, crop, colour and flip, each as the recipe's settings say.

The crop's window is chosen first and only that window is read and resampled. All that is random
comes from the generator, in a fixed order, so a sample is a function of (seed, iteration, slot).
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ann.network import IMAGENET_MEAN
from pipeline.common.params import Augment
from pipeline.datasets.base import BACKGROUND, IGNORE, Pixels, Sample, Unread
from pipeline.inputs.colour import distort, shift
from pipeline.inputs.resample import STEPS, Span, nearest, resample, resized_size

_PADDING = np.round(IMAGENET_MEAN).astype(np.uint8)  # zero after normalisation
_TRIES = 10  # for a crop that is not of one class alone
_Place = npt.NDArray[np.float64]  # in 0..1 of the room there is, down and across


def augment(sample: Sample | Unread, settings: Augment, rng: np.random.Generator) -> Sample:
    """A crop of `settings.crop`, (height, width); beyond the image it is mean colour and IGNORE."""
    scale, aspect = rng.uniform(*settings.scale), math.sqrt(rng.uniform(*settings.aspect))
    place = rng.random(2)
    change = int(rng.integers(-settings.brightness, settings.brightness, endpoint=True))
    flip = rng.random() < settings.hflip

    shape, crop = sample.label.shape, settings.crop
    if settings.min_side is not None:
        scale *= settings.min_side / min(shape)
    steps = [
        max(round(STEPS * by), math.ceil(STEPS / size))  # a pixel is left in any case
        for by, size in zip((scale / aspect, scale * aspect), shape, strict=True)
    ]
    full, share, again = resized_size(shape, steps), settings.max_class_share, _TRIES
    while True:
        spans = _spans(full, crop, place)
        label = nearest(sample.label, steps, spans)
        if share is None or not again or _mixed(label, share):
            break
        place, again = rng.random(2), again - 1
    image = shift(resample(sample.image, steps, spans), change)
    if settings.distortion is not None:
        image = distort(image, settings.distortion, rng)
    image, label = _padded(image, crop, place, _PADDING), _padded(label, crop, place, IGNORE)
    return Sample(image[:, ::-1], label[:, ::-1]) if flip else Sample(image, label)


def _spans(full: Sequence[int], crop: Sequence[int], place: _Place) -> list[Span]:
    """For each axis, from where to where the crop reaches in the resized image."""
    starts = [
        math.floor(where * max(0, have - wanted + 1))
        for have, wanted, where in zip(full, crop, place, strict=True)
    ]
    sizes = map(min, full, crop)
    return [(start, start + size) for start, size in zip(starts, sizes, strict=True)]


def _mixed(label: Pixels, share: float) -> bool:
    """Whether no class has more than `share` of the pixels that have one."""
    counts = np.bincount(label.ravel(), minlength=256)[:BACKGROUND]
    return bool(0 < counts.max() <= share * counts.sum())


def _padded(pixels: Pixels, crop: tuple[int, int], place: _Place, value: object) -> Pixels:
    """The crop at its full size, what there is of the image anywhere within."""
    if pixels.shape[:2] == crop:
        return pixels
    down, across = (
        math.floor(where * (wanted - have + 1))
        for have, wanted, where in zip(pixels.shape[:2], crop, place, strict=True)
    )
    whole = np.empty((*crop, *pixels.shape[2:]), np.uint8)
    whole[:] = value
    whole[down : down + pixels.shape[0], across : across + pixels.shape[1]] = pixels
    return whole
