"""Show what a network predicts: a few images, their labels and its predictions."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ann import SegmentationNetwork
from pipeline.data.formats import DATASETS
from pipeline.data.prepared.store import Store
from pipeline.engine.files import whole_file
from pipeline.reporting.pictures.colours import make_palette, overlay_labels
from pipeline.scoring.predict import predict, stack_images

COUNT, WIDTH, GAP = 3, 400, 4  # images, pixels


def write_examples(
    file: Path, network: SegmentationNetwork, store: Store, dataset: str, settings: Any
) -> None:
    """Write the split's first, middle and last image with labels and predictions.

    The predictions are by the first protocol.
    """
    described = DATASETS[dataset]
    palette = make_palette(len(described.classes), described.colours)
    rows = []
    for i in np.linspace(0, len(store) - 1, min(COUNT, len(store))).round().astype(int).tolist():
        sample = store[i]
        ids = predict(network, stack_images([sample.image]), settings.protocols[0], settings)[0]
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
