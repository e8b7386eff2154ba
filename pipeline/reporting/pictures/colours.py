"""The classes' colours, over an image or alone."""

import numpy as np

from pipeline.data.formats.base import BACKGROUND, Colour, Pixels, voc_colour

# They differ for any colour vision, and in grey.
OUTCOMES = {
    "both": (232, 234, 237),
    "second": (0, 114, 178),
    "first": (230, 159, 0),
    "neither": (122, 64, 110),
}
LABEL_SHARE, IMAGE_SHARE = 0.6, 0.4


def make_palette(classes: int, colours: tuple[Colour, ...]) -> Pixels:
    """Return (256, 3) colours by id.

    A class without a colour gets VOC's, and an id that is no class is black.
    """
    table = np.zeros((256, 3), np.uint8)
    own = [*colours, *(voc_colour(i + 1) for i in range(len(colours), classes))]
    table[:classes] = own[:classes]
    return table


def color_differences(label: Pixels, one: Pixels, other: Pixels) -> Pixels:
    """Show which of two predictions is right at each pixel, in the colours of OUTCOMES."""
    first, second = (ids == label for ids in (one, other))
    picture = np.full((*label.shape, 3), OUTCOMES["both"], np.uint8)
    for what, where in (
        ("second", second & ~first),
        ("first", first & ~second),
        ("neither", ~first & ~second),
    ):
        picture[where] = OUTCOMES[what]
    picture[label >= BACKGROUND] = 0
    return picture


def overlay_labels(image: Pixels, label: Pixels, table: Pixels) -> Pixels:
    """Return the image (H, W, 3) below the labels' colours.

    What is ignored or background is black.
    """
    mixed = (IMAGE_SHARE * image + LABEL_SHARE * table[label]).astype(np.uint8)
    mixed[label >= BACKGROUND] = 0
    return mixed
