"""Stage contact_sheet: draw the first training samples as the network sees them.

    python -m pipeline contact_sheet

It writes data/contact-sheet/<profile>.png. Each augmented image stands beside a copy under its
labels, in the dataset's colours; ignored pixels are black. The classes' colours are below. The
sheet shows a wrong label table or augmentation before any training.
"""

import numpy as np
from PIL import Image, ImageDraw

from pipeline.data.formats import DATASETS, Dataset
from pipeline.data.formats.base import Sample
from pipeline.data.prepared.store import Store
from pipeline.data.samples.loader import NumberedSamples
from pipeline.engine.files import whole_file
from pipeline.reporting.pictures.colours import make_palette, overlay_labels
from pipeline.settings import params
from pipeline.settings.paths import locate_contact_sheet, locate_prepared

COUNT, COLUMNS, WIDTH, GAP = 12, 2, 320, 4  # samples, pairs a row, pixels
_LINE, _KEY_WIDTH = 14, 150  # of the colour key


def draw_sheet(samples: list[Sample], dataset: Dataset) -> Image.Image:
    """Draw images and overlays side by side in a grid, with the colour key below."""
    height, width = samples[0].label.shape
    table = make_palette(len(dataset.classes), dataset.colours)
    size = WIDTH, max(1, WIDTH * height // width)
    rows = -(-len(samples) // COLUMNS)
    across = 2 * COLUMNS * (WIDTH + GAP)
    keys_a_row = max(1, across // _KEY_WIDTH)
    key_height = _LINE * -(-len(dataset.classes) // keys_a_row)
    page = Image.new("RGB", (across, rows * (size[1] + GAP) + key_height), "white")
    for i, sample in enumerate(samples):
        row, column = divmod(i, COLUMNS)
        for j, pixels in enumerate(
            (sample.image, overlay_labels(sample.image, sample.label, table))
        ):
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
    dataset, data = DATASETS[settings.active.dataset], locate_prepared(settings.profile)
    numbered = NumberedSamples(
        Store(data, "train"), settings.active.train.augment, settings.seeds[0]
    )
    samples = []
    for number in range(COUNT):
        image, label, _ = numbered[number]
        assert isinstance(image, np.ndarray)
        samples.append(Sample(image, label))
    path = locate_contact_sheet(settings.profile)
    with whole_file(path) as partial:
        draw_sheet(samples, dataset).save(partial, "png")
    print(f"{COUNT} augmented samples to look at: {path}")
