"""Change colours by table: the released recipe's shift and mmsegmentation's distortion."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.data.formats.base import Pixels
from pipeline.settings.schema import Distortion

_VALUES = np.arange(256.0)


def shift(image: Pixels, change: int) -> Pixels:
    """Add `change` to every value, within 0..255."""
    if change < 0:
        return np.maximum(image, -change) - np.uint8(-change)
    return np.minimum(image, 255 - change) + np.uint8(change) if change else image


def distort(image: Pixels, options: Distortion, rng: np.random.Generator) -> Pixels:
    """Change brightness, contrast, saturation and hue, each with probability 1/2.

    Contrast comes before or after saturation and hue, also with probability 1/2.
    """
    change_brightness, change_contrast, change_saturation, change_hue, contrast_first = (
        rng.random(5) < 0.5
    )
    offset = change_brightness * rng.uniform(-options.brightness, options.brightness)
    contrast = rng.uniform(*options.contrast) if change_contrast else 1.0
    saturation = rng.uniform(*options.saturation) if change_saturation else 1.0
    turn = change_hue * rng.uniform(-options.hue, options.hue) / 360
    image = _apply_table(image, (_VALUES + offset) * (contrast if contrast_first else 1.0))
    if saturation != 1.0 or turn:
        tables = (_VALUES + 256 * turn) % 256, (_VALUES * saturation).clip(0, 255), _VALUES
        table = np.concatenate([table.astype(np.uint8) for table in tables])
        hsv = Image.fromarray(image).convert("HSV").point(table.tolist())
        image = np.asarray(hsv.convert("RGB"))
    return image if contrast_first else _apply_table(image, _VALUES * contrast)


def _apply_table(image: Pixels, values: npt.NDArray[np.floating]) -> Pixels:
    if np.array_equal(values, _VALUES):
        return image
    table = values.round().clip(0, 255).astype(int).tolist()
    return np.asarray(Image.fromarray(image).point(table * 3))
