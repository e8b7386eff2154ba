"""Compute a window of a resized image, without the rest of it.

Sizes change by whole steps of 1/64. So a window that starts at a multiple of 64 source pixels
starts at a whole pixel of the resized image, on the same grid as if the whole image were resized.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from pipeline.data.formats.base import Pixels
from pipeline.data.formats.files import ImageFile

STEPS = 64
Span = tuple[int, int]  # from and to, in the resized image


def resized_size(size: Sequence[int], steps: Sequence[int]) -> list[int]:
    """Return the size of an image (H, W) that is resized by steps / STEPS."""
    return [length * step // STEPS for length, step in zip(size, steps, strict=True)]


def resample_label(label: Pixels, steps: Sequence[int], spans: Sequence[Span]) -> Pixels:
    """Return the spans of a label (H, W) resized by steps / STEPS, by the nearest pixel."""
    rows, columns = (
        (2 * np.arange(start, end) + 1) * STEPS // (2 * step)
        for (start, end), step in zip(spans, steps, strict=True)
    )
    return label.take(rows, axis=0).take(columns, axis=1)  # twice as fast as indexing


def resample_image(
    image: Pixels | ImageFile, steps: Sequence[int], spans: Sequence[Span]
) -> Pixels:
    """Return the spans of an image (H, W, 3) resized by steps / STEPS, bilinear, antialiased."""
    source, inner = [], []
    for (start, end), step, size in zip(spans, steps, image.shape, strict=False):
        reach = math.ceil(STEPS / step) + 1  # of the filter, in source pixels
        first = max(0, start * STEPS // step - reach) // STEPS * STEPS
        source.append(slice(first, min(size, -(-end * STEPS // step) + reach)))
        offset = first // STEPS * step
        inner.append(slice(start - offset, end - offset))
    part = image[source[0], source[1]]
    if list(steps) == [STEPS, STEPS]:
        return part[inner[0], inner[1]]
    resized = F.interpolate(
        torch.from_numpy(np.array(part)).permute(2, 0, 1)[None],
        scale_factor=[step / STEPS for step in steps],
        mode="bilinear",
        antialias=True,
        recompute_scale_factor=False,
    )
    return resized[0].permute(1, 2, 0).numpy()[inner[0], inner[1]]
