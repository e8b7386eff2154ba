"""Read and check one sample of the published files."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data.formats.base import UNKNOWN, Dataset, LazySample, Pair, Pixels
from pipeline.data.formats.files import ImageFile
from pipeline.engine.errors import InputError


def read_sample(pair: Pair, dataset: Dataset) -> LazySample:
    """Return one sample in class ids, with its image not decoded yet.

    Raises:
        InputError: The files do not fit each other, or a label value is unknown.
    """
    image, values = ImageFile(pair.image), dataset.read_labels(pair.label)
    if image.shape[:2] != values.shape:
        (high, wide), (height, width) = values.shape, image.shape[:2]
        raise InputError(
            f"{pair.label} must have the size of its image, {width}x{height}, got {wide}x{high}"
        )
    label = _convert_to_class_ids(values, dataset.lookup)
    if (label == UNKNOWN).any():
        allowed, value = np.flatnonzero(dataset.lookup != UNKNOWN), values[label == UNKNOWN].max()
        hint = dataset.hints.get(int(value))
        raise InputError(
            f"{pair.label} must have {dataset.name}'s label values, {allowed.min()} to "
            f"{allowed.max()}, got {value}{f' ({hint})' if hint else ''}"
        )
    return LazySample(image, label)


def _convert_to_class_ids(values: npt.NDArray[Any], lookup: Pixels) -> Pixels:
    if len(lookup) == 256:  # twice as fast as take, which is three times as fast as an index
        ids = values.tobytes().translate(lookup.tobytes())
        return np.frombuffer(ids, np.uint8).reshape(values.shape)
    return lookup.take(values)


def sample_digest(name: str, image: memoryview | bytes, label: Pixels) -> str:
    """Return the sha256 of a sample's name, size, image and class ids.

    image: The pixels, or the bytes of the file.
    """
    content = hashlib.sha256(f"{name} {label.shape}".encode())
    content.update(image)
    content.update(label.data)
    return content.hexdigest()
