"""What a point attends to, drawn on the image.

The image is grey and dim; the brighter the amber, the larger the weight, in parts of the picture's
largest one. A ring marks the point.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ann import Attention, anchors
from pipeline.datasets.base import Pixels

Values = npt.NDArray[np.floating]
AMBER, CYAN, LINE = (255, 184, 28), (0, 229, 255), (110, 110, 110)
DIM, STRONG = 0.6, 0.9  # of the image; of the largest weight's colour
GAP = 4  # pixels between the parts of a picture


def positions(image: Pixels, found: Attention, point: tuple[float, float]) -> Pixels:
    """The weight of each position, what an anchor gets shared by the positions of its bin."""
    weights = found.spread()[0, 0].float().cpu().numpy()
    return _marked(_lit(image, _relative(weights)), point)


def anchor_grids(
    image: Pixels, found: Attention, pool_sizes: Sequence[int], point: tuple[float, float]
) -> list[Pixels]:
    """The weight of each anchor, its bin filled: a picture for each pool size."""
    weights = _relative(found.weights[0, 0].float().cpu().numpy())
    parts = []
    for start, end in pairwise(accumulate((anchors([n]) for n in pool_sizes), initial=0)):
        values = np.zeros(found.size)
        for (top, bottom, left, right), weight in zip(
            found.boxes[start:end].tolist(), weights[start:end], strict=True
        ):
            area = values[top:bottom, left:right]
            np.maximum(area, weight, out=area)  # bins may share a row
        part = Image.fromarray(_lit(image, values, Image.Resampling.NEAREST))
        draw, sides = ImageDraw.Draw(part), np.array([part.height, part.width])
        scale = sides / found.size
        for top, bottom, left, right in found.boxes[start:end].tolist():
            corners = (left * scale[1], top * scale[0], right * scale[1] - 1, bottom * scale[0] - 1)
            draw.rectangle([round(c) for c in corners], outline=LINE)
        parts.append(_marked(np.asarray(part), point))
    return parts


def side_by_side(parts: list[Pixels]) -> Pixels:
    """Pictures of one size in a row, white between them."""
    gap = np.full((parts[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([p for part in parts for p in (part, gap)][:-1], axis=1)


def _relative(weights: Values) -> Values:
    """In parts of the largest; a negative one, which only a block without softmax has, is 0."""
    return np.maximum(weights, 0) / max(float(weights.max()), 1e-12)


def _lit(
    image: Pixels, values: Values, how: Image.Resampling = Image.Resampling.BILINEAR
) -> Pixels:
    """The dim image with amber where the values (h, w) in [0, 1] are large."""
    height, width = image.shape[:2]
    light = np.asarray(Image.fromarray(values.astype(np.float32)).resize((width, height), how))
    alpha = STRONG * light.clip(0, 1)[:, :, None]
    grey = DIM * image.mean(axis=2, keepdims=True)
    return ((1 - alpha) * grey + alpha * np.array(AMBER)).astype(np.uint8)


def _marked(image: Pixels, point: tuple[float, float]) -> Pixels:
    """A ring round the point, which is given in parts of the height and of the width."""
    picture = Image.fromarray(image)
    y, x = point[0] * picture.height, point[1] * picture.width
    draw, radius = ImageDraw.Draw(picture), max(4, min(picture.size) // 24)
    for width, colour in ((4, "black"), (2, CYAN)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=width)
    return np.asarray(picture)
