"""Reading one sample from the published files: decoded, checked, in class ids."""

import hashlib

import numpy as np

from pipeline.common.cli import InputError
from pipeline.datasets.base import UNKNOWN, Dataset, Pair, Sample
from pipeline.datasets.files import read_image


def read(pair: Pair, dataset: Dataset) -> Sample:
    """Decode and check one sample; an InputError names the file."""
    image, values = read_image(pair.image), dataset.read_labels(pair.label)
    if image.shape[:2] != values.shape:
        (high, wide), (height, width) = values.shape, image.shape[:2]
        raise InputError(
            f"{pair.label}: {wide}x{high}, but its image is {width}x{height}; allowed is the "
            f"same size"
        )
    label = dataset.lookup.take(values)  # faster than by index
    if (label == UNKNOWN).any():
        known = np.flatnonzero(dataset.lookup != UNKNOWN)
        raise InputError(
            f"{pair.label}: label value {values[label == UNKNOWN].max()}; allowed are "
            f"{dataset.name}'s {known.min()} to {known.max()}"
        )
    return Sample(image, label)


def sample_digest(name: str, sample: Sample) -> str:
    """sha256 of a sample's name, size and pixels."""
    content = hashlib.sha256(f"{name} {sample.label.shape}".encode())
    content.update(np.ascontiguousarray(sample.image).data)
    content.update(np.ascontiguousarray(sample.label).data)
    return content.hexdigest()
