"""A look at what a network predicts: a few images, their labels and its predictions."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ann import SegmentationNetwork
from pipeline.common.files import whole_file
from pipeline.datasets import DATASETS
from pipeline.drawing.colours import overlay, palette
from pipeline.inputs.store import Store
from pipeline.scoring.predict import as_batch, predict

COUNT, WIDTH, GAP = 3, 400, 4  # images, pixels


def write(
    file: Path, network: SegmentationNetwork, store: Store, dataset: str, settings: Any
) -> None:
    """The split's first, middle and last image, its labels and, by the first protocol, the ids."""
    described = DATASETS[dataset]
    table = palette(len(described.classes), described.colours)
    rows = []
    for i in np.linspace(0, len(store) - 1, min(COUNT, len(store))).round().astype(int).tolist():
        sample = store[i]
        ids = predict(network, as_batch([sample.image]), settings.protocols[0], settings)[0]
        image = np.asarray(sample.image)
        pictures = (image, overlay(image, sample.label, table), overlay(image, ids, table))
        rows.append([_small(pixels) for pixels in pictures])
    height = sum(row[0].height + GAP for row in rows) - GAP
    page = Image.new("RGB", (3 * (WIDTH + GAP) - GAP, height), "white")
    top = 0
    for row in rows:
        for column, picture in enumerate(row):
            page.paste(picture, (column * (WIDTH + GAP), top))
        top += row[0].height + GAP
    with whole_file(file) as partial:
        page.save(partial, "WEBP", quality=80)


def _small(pixels: Any) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return picture.resize((WIDTH, max(1, round(WIDTH * picture.height / picture.width))))
