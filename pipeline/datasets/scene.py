"""A procedural street scene on which long-range context is worth measuring, in Cityscapes' layout.

One side of the image, left or right at random, holds the cues and the other far side holds objects
that look exactly alike across classes. Only a cue tells the classes of such objects apart:

    truck, bus, train      the colour of the depot sign
    person, rider          the lamp of the traffic light, red or green
    motorcycle, bicycle    the same lamp
    wall, fence            the plate that carries the panel's own colour: its lower half is light
                           or dark. There is one plate for each of the panel colours.

Between the two sides lies a gap wider than the receptive field of a small backbone, so a network
without a non-local block can only guess. All sizes are in units of height / 16, one cell of a
feature map of stride 8 at height 128. The cues have random sizes: large ones are found early in
training and teach the network what to look for, those of one cell tell samplings apart.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cityscapesscripts.helpers.labels import name2label
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Color = Sequence[int]

UNITS = 16  # units in the height; the width should be at least 32 of them
CUE_END, FAR_START = 10, 21  # in 32nds of the width
NOISE = 24  # the pixels' noise is uniform over this many grey levels
TINT = 10  # the largest change of an object's colour

COLORS: dict[str, Color] = {
    "sky": (110, 165, 215),
    "building": (120, 105, 95),
    "vegetation": (60, 110, 45),
    "terrain": (150, 170, 90),
    "sidewalk": (165, 150, 165),
    "road": (85, 85, 90),
    "pole": (30, 30, 30),
    "car": (30, 40, 130),
    "ego vehicle": (15, 15, 20),
}
VEHICLE, PERSON, BIKE = (225, 225, 225), (215, 130, 90), (100, 25, 95)  # look-alikes
SIGNS = {"truck": (235, 30, 30), "bus": (30, 225, 60), "train": (50, 60, 245)}
LAMPS = {("person", "bicycle"): (250, 20, 20), ("rider", "motorcycle"): (20, 240, 90)}
PANELS = ((200, 60, 170), (50, 190, 190))
SHADES = {"wall": (245, 245, 245), "fence": (10, 10, 10)}
SPLITS = {"train": 0, "val": 1}


class Canvas:
    """An image and its labels, painted with boxes given in units, the origin at the top left."""

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.rng, self.unit = rng, height / UNITS
        self.width = width / self.unit
        self.image = np.zeros((height, width, 3), np.int16)
        self.label = np.zeros((height, width), np.uint8)

    def box(self, name: str, x: float, y: float, wide: float, tall: float, color: Color) -> None:
        """Fill a box with a randomly tinted colour and the label of the class `name`."""
        left, top, right, bottom = (int(v * self.unit) for v in (x, y, x + wide, y + tall))
        area = slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0))
        self.image[area] = np.add(color, self.rng.integers(-TINT, TINT + 1, 3))
        self.label[area] = name2label[name].id

    def row(self, names: Sequence[str], y: float, tall: float, widths: tuple[float, float]) -> None:
        """Fill a row with boxes of random width and class."""
        x = 0.0
        while x < self.width:
            name, wide = str(self.rng.choice(names)), self.rng.uniform(*widths)
            self.box(name, x, y, wide, tall, COLORS[name])
            x += wide

    def finish(self) -> tuple[Pixels, Pixels]:
        noise = self.rng.integers(-(NOISE // 2), NOISE // 2 + 1, self.image.shape, np.int16)
        return np.clip(self.image + noise, 0, 255).astype(np.uint8), self.label


def draw(seed: int, index: int, height: int, width: int) -> tuple[Pixels, Pixels]:
    """Image `index` of the stream `seed`: RGB (H, W, 3) and label ids (H, W)."""
    rng = np.random.default_rng((seed, index))
    canvas = Canvas(rng, height, width)
    street(canvas)
    vehicle = str(rng.choice(list(SIGNS)))
    pedestrian, bike = list(LAMPS)[rng.integers(2)]
    panels = [str(name) for name in rng.choice(list(SHADES), len(PANELS))]
    cues(canvas, vehicle, LAMPS[pedestrian, bike], panels)
    look_alikes(canvas, vehicle, pedestrian, bike, panels)
    image, label = canvas.finish()
    if rng.integers(2):
        image, label = image[:, ::-1], label[:, ::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(label)


def street(canvas: Canvas) -> None:
    """Everything whose class its own look tells, over the whole width."""
    rng = canvas.rng
    horizon = rng.uniform(1, 2.5)
    canvas.row(["sky"], 0, 8, (40, 41))
    canvas.row(["building", "building", "vegetation"], horizon, 9 - horizon, (2, 7))
    canvas.row(["sidewalk", "terrain"], 8.5, 2, (4, 12))
    canvas.row(["road"], 10.5, 5, (40, 41))
    canvas.row(["ego vehicle"], 15.5, 0.5, (40, 41))
    for x in rng.uniform(0, canvas.width, 2):
        canvas.box("pole", x, 2, 0.75, 8, COLORS["pole"])
    for x in rng.uniform(0, canvas.width, 2):
        canvas.box("car", x, rng.uniform(10, 12.5), rng.uniform(2.5, 4), 2, COLORS["car"])


def cues(canvas: Canvas, vehicle: str, lamp: Color, panels: Sequence[str]) -> None:
    """The depot sign, the traffic light and the plates, none of which hides another."""
    rng, zone = canvas.rng, canvas.width * CUE_END / 32
    slots = rng.permutation(2) * zone / 2
    size = rng.uniform(1, 3)
    x, y = slots[0] + rng.uniform(0, zone / 2 - size), rng.uniform(1, 4.5 - size)
    canvas.box("pole", x + size / 2 - 0.3, y, 0.6, 9 - y, COLORS["pole"])
    canvas.box("traffic sign", x, y, size, size, SIGNS[vehicle])
    size = rng.uniform(1, 2)
    x, y = slots[1] + rng.uniform(0, zone / 2 - size), rng.uniform(1, 4.5 - 1.5 * size)
    canvas.box("pole", x + size / 2 - 0.3, y, 0.6, 9 - y, COLORS["pole"])
    canvas.box("traffic light", x, y, size, 1.5 * size, (0, 0, 0))
    canvas.box("traffic light", x + 0.1 * size, y + 0.25 * size, 0.8 * size, size, lamp)
    size = rng.uniform(1, 2)
    x, y = rng.uniform(0, zone - len(panels) * size), rng.uniform(5, 9 - size)
    for slot, i in enumerate(rng.permutation(len(panels))):
        left = x + slot * size
        canvas.box("traffic sign", left, y, size, size / 2, PANELS[i])
        canvas.box("traffic sign", left, y + size / 2, size, size / 2, SHADES[panels[i]])


def look_alikes(
    canvas: Canvas, vehicle: str, pedestrian: str, bike: str, panels: Sequence[str]
) -> None:
    """The objects on the far side whose class only a cue tells."""
    rng, end = canvas.rng, canvas.width
    start = end * FAR_START / 32
    x = start
    while x < end:
        i, wide = int(rng.integers(len(panels))), rng.uniform(2, 4)
        canvas.box(panels[i], x, 5, wide, 3, PANELS[i])
        x += wide
    for x in rng.uniform(start, end - 1.5, 4):
        canvas.box(pedestrian, x, rng.uniform(7.5, 8.5), 1.25, 3, PERSON)
    canvas.box(vehicle, rng.uniform(start, end - 4), rng.uniform(10, 11), 5, 3, VEHICLE)
    for x in rng.uniform(start, end - 2, 3):
        canvas.box(bike, x, rng.uniform(12.5, 13.5), 2, 1.75, BIKE)


def write(root: Path, *, counts: Mapping[str, int], seed: int, height: int, width: int) -> None:
    """Write counts[split] images a split under `root`; `seed` decides all of them.

    The splits draw from disjoint streams, and an image does not depend on how many there are.
    """
    for split, count in counts.items():
        for frame in range(count):
            image, label = draw(seed, SPLITS[split] * 1_000_000 + frame, height, width)
            name = f"scene_000000_{frame:06d}"
            for kind, suffix, pixels in (
                ("leftImg8bit", "leftImg8bit", image),
                ("gtFine", "gtFine_labelIds", label),
            ):
                path = root / kind / split / "scene" / f"{name}_{suffix}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path, compress_level=1)
