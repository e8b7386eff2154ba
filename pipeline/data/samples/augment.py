"""Augment a sample: resize, crop, change colours and flip, by the options of the recipe.

The crop's window is chosen first, and only that window is read and resampled. Everything random
comes from the generator in a fixed order, so a sample is a function of (seed, iteration, slot).
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ann.network import IMAGENET_MEAN
from pipeline.data.features.store import Features, Maps
from pipeline.data.formats.base import BACKGROUND, IGNORE, LazySample, Pixels, Sample
from pipeline.data.samples.colour import distort, shift
from pipeline.data.samples.resample import STEPS, Span, resample_image, resample_label, resized_size
from pipeline.settings.schema import Augment

_PADDING = np.round(IMAGENET_MEAN).astype(np.uint8)  # zero after normalisation
_TRIES = 10  # for a crop that is not almost all of one class
_Place = npt.NDArray[np.float64]  # down and across, in 0..1 of the room


def augment(sample: Sample | LazySample, options: Augment, rng: np.random.Generator) -> Sample:
    """Return a random crop of `options.crop` (height, width).

    Outside the image, the crop has the mean colour and IGNORE.
    """
    scale, aspect, place, change, flip = _draw(options, rng)
    shape, crop = sample.label.shape, options.crop
    if options.min_side is not None:
        scale *= options.min_side / min(shape)
    steps = [
        max(round(STEPS * by), math.ceil(STEPS / size))  # at least one pixel remains
        for by, size in zip((scale / aspect, scale * aspect), shape, strict=True)
    ]
    full, share, tries_left = resized_size(shape, steps), options.max_class_share, _TRIES
    while True:
        spans = _compute_spans(full, crop, place)
        label = resample_label(sample.label, steps, spans)
        if share is None or not tries_left or _is_mixed(label, share):
            break
        place, tries_left = rng.random(2), tries_left - 1
    image = shift(resample_image(sample.image, steps, spans), change)
    if options.distortion is not None:
        image = distort(image, options.distortion, rng)
    image, label = _pad(image, crop, place, _PADDING), _pad(label, crop, place, IGNORE)
    return Sample(image[:, ::-1], label[:, ::-1]) if flip else Sample(image, label)


def augment_maps(
    features: Features,
    i: int,
    label: Pixels,
    options: Augment,
    stride: int,
    rng: np.random.Generator,
) -> tuple[Maps, Pixels]:
    """Return a random crop of an image's maps and of its label, like `augment`.

    The crop starts at a position of the maps. A mirrored sample has the maps of the mirror image.

    Args:
        features: The maps.
        i: The image's number.
        label: The image's label (H, W).
        options: Only `crop` and `hflip` change something; the settings' rules ensure it.
        stride: The distance of two positions, in pixels.
        rng: Draws as for `augment`.
    """
    _, _, place, _, flip = _draw(options, rng)
    crop = [side // stride for side in options.crop]
    (top, bottom), (left, right) = _compute_spans(features.sizes[i], crop, place)
    label = label[stride * top : stride * bottom, stride * left : stride * right]
    maps = features.read(i, mirrored=flip)
    if flip:
        width = features.sizes[i][1]
        left, right, label = width - right, width - left, label[:, ::-1]
    return Maps(*(values[top:bottom, left:right] for values in maps)), label


def _draw(options: Augment, rng: np.random.Generator) -> tuple[float, float, _Place, int, bool]:
    """Draw scale, root of the aspect, place, change of brightness, and whether to mirror."""
    scale, aspect = rng.uniform(*options.scale), math.sqrt(rng.uniform(*options.aspect))
    place = rng.random(2)
    change = int(rng.integers(-options.brightness, options.brightness, endpoint=True))
    return scale, aspect, place, change, bool(rng.random() < options.hflip)


def _compute_spans(full: Sequence[int], crop: Sequence[int], place: _Place) -> list[Span]:
    """Return the crop's span on each axis of the resized image."""
    starts = [
        math.floor(where * max(0, length - crop_length + 1))
        for length, crop_length, where in zip(full, crop, place, strict=True)
    ]
    sizes = map(min, full, crop)
    return [(start, start + size) for start, size in zip(starts, sizes, strict=True)]


def _is_mixed(label: Pixels, share: float) -> bool:
    """Return whether no class has more than `share` of the pixels with a class."""
    counts = np.bincount(label.ravel(), minlength=256)[:BACKGROUND]
    return bool(0 < counts.max() <= share * counts.sum())


def _pad(pixels: Pixels, crop: tuple[int, int], place: _Place, value: object) -> Pixels:
    """Fill the crop up to its full size with `value`, with the pixels at `place` in it."""
    if pixels.shape[:2] == crop:
        return pixels
    down, across = (
        math.floor(where * (crop_length - length + 1))
        for length, crop_length, where in zip(pixels.shape[:2], crop, place, strict=True)
    )
    padded = np.empty((*crop, *pixels.shape[2:]), np.uint8)
    padded[:] = value
    padded[down : down + pixels.shape[0], across : across + pixels.shape[1]] = pixels
    return padded
