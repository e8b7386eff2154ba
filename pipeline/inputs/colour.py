"""Changes of colour, by table: the released recipe's shift and mmsegmentation's distortion."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.common.params import Distortion
from pipeline.datasets.base import Pixels

_VALUES = np.arange(256.0)


def shift(image: Pixels, change: int) -> Pixels:
    """`change` added to every value, within 0..255."""
    if change < 0:
        return np.maximum(image, -change) - np.uint8(-change)
    return np.minimum(image, 255 - change) + np.uint8(change) if change else image


def distort(image: Pixels, settings: Distortion, rng: np.random.Generator) -> Pixels:
    """Brightness, contrast, saturation and hue, each with probability 1/2.

    Contrast comes before or after saturation and hue, with probability 1/2 as well.
    """
    brighter, contrasted, saturated, turned, early = rng.random(5) < 0.5
    added = brighter * rng.uniform(-settings.brightness, settings.brightness)
    contrast = rng.uniform(*settings.contrast) if contrasted else 1.0
    saturation = rng.uniform(*settings.saturation) if saturated else 1.0
    turn = turned * rng.uniform(-settings.hue, settings.hue) / 360
    image = _by_table(image, (_VALUES + added) * (contrast if early else 1.0))
    if saturation != 1.0 or turn:
        tables = (_VALUES + 256 * turn) % 256, (_VALUES * saturation).clip(0, 255), _VALUES
        every = np.concatenate([table.astype(np.uint8) for table in tables])
        hsv = Image.fromarray(image).convert("HSV").point(every.tolist())
        image = np.asarray(hsv.convert("RGB"))
    return image if early else _by_table(image, _VALUES * contrast)


def _by_table(image: Pixels, values: npt.NDArray[np.floating]) -> Pixels:
    if np.array_equal(values, _VALUES):
        return image
    table = values.round().clip(0, 255).astype(int).tolist()
    return np.asarray(Image.fromarray(image).point(table * 3))
