"""Stage contact_sheet: the first training samples as the network gets them, to look at.

    python -m pipeline.contact_sheet

Writes data/contact-sheet/<profile>.png: each augmented image beside its labels in the dataset's
colours over it, what is ignored in black, with the classes' colours below. A wrong label table or
augmentation is seen here, before anything is trained.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pipeline.common import cli, params
from pipeline.common.files import whole_file
from pipeline.datasets import DATASETS, Dataset
from pipeline.datasets.base import Sample
from pipeline.drawing.colours import overlay, palette
from pipeline.inputs.loader import Numbered
from pipeline.inputs.store import Store
from pipeline.prepare import folder

SHEETS = Path("data/contact-sheet")
COUNT, COLUMNS, WIDTH, GAP = 12, 2, 320, 4  # samples, pairs a row, pixels
_LINE, _KEY_WIDTH = 14, 150  # of the colour key


def sheet(samples: list[Sample], dataset: Dataset) -> Image.Image:
    """Image and overlay side by side, a grid of them, and the colour key."""
    height, width = samples[0].label.shape
    table = palette(len(dataset.classes), dataset.colours)
    size = WIDTH, max(1, WIDTH * height // width)
    rows = -(-len(samples) // COLUMNS)
    across = 2 * COLUMNS * (WIDTH + GAP)
    keys_a_row = max(1, across // _KEY_WIDTH)
    key_height = _LINE * -(-len(dataset.classes) // keys_a_row)
    page = Image.new("RGB", (across, rows * (size[1] + GAP) + key_height), "white")
    for i, sample in enumerate(samples):
        row, column = divmod(i, COLUMNS)
        for j, pixels in enumerate((sample.image, overlay(sample.image, sample.label, table))):
            small = Image.fromarray(np.ascontiguousarray(pixels)).resize(size)
            page.paste(small, ((2 * column + j) * (WIDTH + GAP), row * (size[1] + GAP)))
    draw, top = ImageDraw.Draw(page), rows * (size[1] + GAP)
    for i, name in enumerate(dataset.classes):
        x, y = i % keys_a_row * _KEY_WIDTH, top + i // keys_a_row * _LINE
        draw.rectangle((x, y + 2, x + 9, y + 11), fill=tuple(table[i].tolist()), outline="grey")
        draw.text((x + 14, y + 1), name, fill="black")
    return page


def main() -> None:
    settings = params.load()
    dataset, data = DATASETS[settings.active.dataset], folder(settings.profile)
    numbered = Numbered(Store(data, "train"), settings.active.train.augment, settings.seeds[0])
    samples = [Sample(*numbered[number][:2]) for number in range(COUNT)]
    path = SHEETS / f"{settings.profile}.png"
    with whole_file(path) as partial:
        sheet(samples, dataset).save(partial, "png")
    print(f"{COUNT} augmented samples to look at: {path}")


if __name__ == "__main__":
    cli.run(main)
