"""The classes' colours, over an image or alone."""

import numpy as np

from pipeline.datasets.base import BACKGROUND, Colour, Pixels, voc_colour

# Told apart with any colour vision, and in grey.
RIGHT = {
    "both": (232, 234, 237),
    "second": (0, 114, 178),
    "first": (230, 159, 0),
    "neither": (122, 64, 110),
}
MARKED, BARE = 0.6, 0.4  # parts of the label's colour and of the image


def palette(classes: int, colours: tuple[Colour, ...]) -> Pixels:
    """(256, 3) colours by id; a class without one gets VOC's, and what is no class is black."""
    table = np.zeros((256, 3), np.uint8)
    own = [*colours, *(voc_colour(i + 1) for i in range(len(colours), classes))]
    table[:classes] = own[:classes]
    return table


def differences(label: Pixels, one: Pixels, other: Pixels) -> Pixels:
    """Which of two predictions is right at each pixel, in the colours of RIGHT."""
    first, second = (ids == label for ids in (one, other))
    made = np.full((*label.shape, 3), RIGHT["both"], np.uint8)
    for what, where in (
        ("second", second & ~first),
        ("first", first & ~second),
        ("neither", ~first & ~second),
    ):
        made[where] = RIGHT[what]
    made[label >= BACKGROUND] = 0
    return made


def overlay(image: Pixels, label: Pixels, table: Pixels) -> Pixels:
    """The labels' colours over the image (H, W, 3); what is ignored or background is black."""
    mixed = (BARE * image + MARKED * table[label]).astype(np.uint8)
    mixed[label >= BACKGROUND] = 0
    return mixed
