"""Draw what a point attends to on the image.

The image is grey and dim. The brighter the amber, the larger the weight, relative to the largest
one of the picture. A ring marks the point.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ann import Attention, anchors
from pipeline.data.formats.base import Pixels

Values = npt.NDArray[np.floating]
AMBER, CYAN, LINE = (255, 184, 28), (0, 229, 255), (110, 110, 110)
DIM, STRONG = 0.6, 0.9  # of the image; of the largest weight's colour
GAP = 4  # pixels between the parts of a picture


def draw_positions(image: Pixels, attention: Attention, point: tuple[float, float]) -> Pixels:
    """Draw the weight of each position; the positions of a bin share their anchor's weight."""
    weights = attention.spread()[0, 0].float().cpu().numpy()
    return _mark_point(_light_up(image, _normalize(weights)), point)


def draw_anchors(
    image: Pixels, attention: Attention, pool_sizes: Sequence[int], point: tuple[float, float]
) -> list[Pixels]:
    """Draw the weight of each anchor into its bin, a picture for each pool size."""
    weights = _normalize(attention.weights[0, 0].float().cpu().numpy())
    parts = []
    for start, end in pairwise(accumulate((anchors([n]) for n in pool_sizes), initial=0)):
        values = np.zeros(attention.size)
        for (top, bottom, left, right), weight in zip(
            attention.boxes[start:end].tolist(), weights[start:end], strict=True
        ):
            area = values[top:bottom, left:right]
            np.maximum(area, weight, out=area)  # bins may share a row
        part = Image.fromarray(_light_up(image, values, Image.Resampling.NEAREST))
        draw, sides = ImageDraw.Draw(part), np.array([part.height, part.width])
        scale = sides / attention.size
        for top, bottom, left, right in attention.boxes[start:end].tolist():
            corners = (left * scale[1], top * scale[0], right * scale[1] - 1, bottom * scale[0] - 1)
            draw.rectangle([round(c) for c in corners], outline=LINE)
        parts.append(_mark_point(np.asarray(part), point))
    return parts


def join_pictures(parts: list[Pixels]) -> Pixels:
    """Return pictures of one size in a row, with white between them."""
    gap = np.full((parts[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([p for part in parts for p in (part, gap)][:-1], axis=1)


def _normalize(weights: Values) -> Values:
    """Divide by the largest weight; negative ones, of blocks without softmax, become 0."""
    return np.maximum(weights, 0) / max(float(weights.max()), 1e-12)


def _light_up(
    image: Pixels, values: Values, how: Image.Resampling = Image.Resampling.BILINEAR
) -> Pixels:
    """Return the dim image with amber where the values (h, w) in [0, 1] are large."""
    height, width = image.shape[:2]
    light = np.asarray(Image.fromarray(values.astype(np.float32)).resize((width, height), how))
    alpha = STRONG * light.clip(0, 1)[:, :, None]
    grey = DIM * image.mean(axis=2, keepdims=True)
    return ((1 - alpha) * grey + alpha * np.array(AMBER)).astype(np.uint8)


def _mark_point(image: Pixels, point: tuple[float, float]) -> Pixels:
    """Draw a ring round the point, which is in parts of the height and of the width."""
    picture = Image.fromarray(image)
    y, x = point[0] * picture.height, point[1] * picture.width
    draw, radius = ImageDraw.Draw(picture), max(4, min(picture.size) // 24)
    for width, colour in ((4, "black"), (2, CYAN)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=width)
    return np.asarray(picture)
