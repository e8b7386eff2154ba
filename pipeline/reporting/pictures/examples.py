"""Show what a network predicts: a few images, their labels and its predictions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.data.formats import DATASETS
from pipeline.data.formats.base import Pixels
from pipeline.data.prepared.store import Store
from pipeline.engine.files import whole_file
from pipeline.reporting.pictures.colours import make_palette, overlay_labels

WIDTH, GAP = 400, 4  # pixels


def write_examples(
    file: Path, store: Store, dataset: str, predictions: Mapping[int, Pixels]
) -> None:
    """Write some images of a split with labels and predictions.

    Args:
        file: The picture's file.
        store: The split.
        dataset: The dataset's name.
        predictions: Class ids (H, W) by the number of the image.
    """
    described = DATASETS[dataset]
    palette = make_palette(len(described.classes), described.colours)
    rows = []
    for i, ids in sorted(predictions.items()):
        sample = store[i]
        image = np.asarray(sample.image)
        pictures = (
            image,
            overlay_labels(image, sample.label, palette),
            overlay_labels(image, ids, palette),
        )
        rows.append([_shrink(pixels) for pixels in pictures])
    height = sum(row[0].height + GAP for row in rows) - GAP
    page = Image.new("RGB", (3 * (WIDTH + GAP) - GAP, height), "white")
    top = 0
    for row in rows:
        for column, picture in enumerate(row):
            page.paste(picture, (column * (WIDTH + GAP), top))
        top += row[0].height + GAP
    with whole_file(file) as partial:
        page.save(partial, "WEBP", quality=80)


def _shrink(pixels: Any) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return picture.resize((WIDTH, max(1, round(WIDTH * picture.height / picture.width))))
