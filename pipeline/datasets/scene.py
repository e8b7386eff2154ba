"""A procedural street scene on which long-range context is worth measuring, in Cityscapes' layout.

The left or the right end of a picture, at random, holds the cues. The other end holds objects
that look exactly alike across classes, and only a cue tells which class they are:

    truck, bus, train      what stands at the depot: a car, terrain or vegetation
    wall, fence            what most of the posts are: traffic signs or traffic lights
    person, rider          the same posts
    bicycle, motorcycle    the same posts

Between the ends lies a gap wider than the receptive field of the small backbone at output stride
8, so that a network without a non-local block can only guess. The cues are objects of classes
that the network learns anyway, which makes its attention start within a hundred iterations. The
posts are one cell of the feature map in size and one to nine in number: nine of a kind are found
early, a single one and a narrow majority are what a coarse sampling may lose.

Sizes are in units of height / 16, a cell of output stride 8 at height 128. Places lie on a grid
of a sixteenth of a unit, and nothing but elementwise arithmetic is done, so that a picture is the
same on every machine.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cityscapesscripts.helpers.labels import name2label
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Color = tuple[int, int, int]

UNITS = 16  # in the height; the width should be at least 32
CUE_END, FAR_START = 10 / 32, 21 / 32  # of the width
NOISE = 12  # grey levels, each pixel by itself
TINT = 10  # grey levels, each box by itself

COLORS: dict[str, Color] = {
    "sky": (110, 165, 215),
    "building": (120, 105, 95),
    "sidewalk": (165, 150, 165),
    "road": (85, 85, 90),
    "ego vehicle": (15, 15, 20),  # ignored in Cityscapes' scores, as its label says
    "pole": (30, 30, 30),
    "car": (30, 40, 130),
    "terrain": (150, 170, 90),
    "vegetation": (60, 110, 45),
    "traffic sign": (235, 220, 20),
    "traffic light": (20, 230, 240),
}
# One colour for each group of look-alikes: no pixel of them may tell their class.
for names, color in (
    (("truck", "bus", "train"), (225, 225, 225)),
    (("wall", "fence"), (200, 60, 170)),
    (("person", "rider"), (215, 130, 90)),
    (("bicycle", "motorcycle"), (100, 25, 95)),
):
    COLORS.update(dict.fromkeys(names, color))

DEPOTS = {"car": "truck", "terrain": "bus", "vegetation": "train"}
POSTS = {
    "traffic sign": ("wall", "person", "bicycle"),
    "traffic light": ("fence", "rider", "motorcycle"),
}
POST_ROWS, POST_COLUMNS = 3, 5  # the grid of the posts' places
SPLITS = {"train": 0, "val": 1}
FILES = {"leftImg8bit": "leftImg8bit", "gtFine": "gtFine_labelIds"}  # folder and suffix
STREAM = 1_000_000  # pictures a split may have, apart from the other split's


class Canvas:
    """A picture and its labels, painted with boxes in units, the origin at the top left."""

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.rng, self.unit = rng, height / UNITS
        self.width = width / self.unit
        self.image = np.zeros((height, width, 3), np.int16)
        self.label = np.zeros((height, width), np.uint8)

    def between(self, low: float, high: float) -> float:
        """A random place or size on the grid; numpy's uniform may round as the machine does."""
        return low + int(self.rng.integers(int((high - low) * 16) + 1)) / 16

    def box(self, name: str, x: float, y: float, wide: float, tall: float) -> None:
        """Paint an object of the class `name` over what is there."""
        left, top, right, bottom = (int(v * self.unit) for v in (x, y, x + wide, y + tall))
        tint = self.rng.integers(-TINT, TINT + 1, 3)
        self.image[top:bottom, left:right] = np.add(COLORS[name], tint)
        self.label[top:bottom, left:right] = name2label[name].id

    def finish(self) -> tuple[Pixels, Pixels]:
        """The picture with its noise, and the labels; mirrored or not."""
        noise = self.rng.integers(-NOISE, NOISE + 1, self.image.shape, np.int16)
        image = np.clip(self.image + noise, 0, 255).astype(np.uint8)
        step = -1 if self.rng.integers(2) else 1
        return tuple(np.ascontiguousarray(x[:, ::step]) for x in (image, self.label))  # type: ignore


def draw(seed: int, index: int, height: int, width: int) -> tuple[Pixels, Pixels]:
    """Picture `index` of the stream `seed`: RGB (H, W, 3) and label ids (H, W)."""
    rng = np.random.default_rng((seed, index))
    canvas = Canvas(rng, height, width)
    depot = list(DEPOTS)[rng.integers(len(DEPOTS))]
    post, other = (list(POSTS)[i] for i in rng.permutation(len(POSTS)))
    _street(canvas)
    _posts(canvas, post, other)
    _depot(canvas, depot)
    _look_alikes(canvas, DEPOTS[depot], *POSTS[post])
    return canvas.finish()


def _street(canvas: Canvas) -> None:
    """What tells nothing: the ground, the houses and the poles."""
    width, between = canvas.width, canvas.between
    canvas.box("sky", 0, 0, width, 3)
    x, roof = 0.0, between(1, 2.5)
    while x < width:
        house = between(2, 7)
        canvas.box("building", x, roof, house, 9 - roof)
        x += house
    canvas.box("sidewalk", 0, 8.5, width, 2)
    canvas.box("road", 0, 10.5, width, 5)
    canvas.box("ego vehicle", 0, 15.5, width, 0.5)
    for _ in range(2):
        canvas.box("pole", between(0, width), 2, 0.75, 8)


def _posts(canvas: Canvas, post: str, other: str) -> None:
    """An odd number of posts, most of them `post`, each in its own place so that none is hidden."""
    total = 2 * int(canvas.rng.integers(5)) + 1
    majority = int(canvas.rng.integers(total // 2 + 1, total + 1))
    pitch = canvas.width * CUE_END / POST_COLUMNS
    places = canvas.rng.permutation(POST_ROWS * POST_COLUMNS)
    for i, place in enumerate(places[:total].tolist()):
        row, column = divmod(place, POST_COLUMNS)
        x, y = column * pitch + canvas.between(0, 1), 1 + row * 2.5 + canvas.between(0, 1)
        canvas.box(post if i < majority else other, x, y, 1, 1)


def _depot(canvas: Canvas, depot: str) -> None:
    size = canvas.between(2.5, 4)
    x = canvas.between(0, canvas.width * CUE_END - 2 * size)
    canvas.box(depot, x, canvas.between(11, 15 - size), 2 * size, size)


def _look_alikes(canvas: Canvas, vehicle: str, strip: str, walker: str, bike: str) -> None:
    """The objects at the far end whose class only a cue tells."""
    end, between = canvas.width, canvas.between
    start = end * FAR_START
    canvas.box(strip, start, between(4, 5), end - start, 2.5)
    for _ in range(4):
        canvas.box(walker, between(start, end - 1.25), between(7.5, 8.5), 1.25, 3)
    canvas.box(vehicle, between(start, end - 5), between(10, 11), 5, 3)
    for _ in range(3):
        canvas.box(bike, between(start, end - 2), between(12.5, 13.5), 2, 1.75)


def write(root: Path, *, counts: Mapping[str, int], seed: int, height: int, width: int) -> None:
    """Write counts[split] pictures of each split under `root`, named as Cityscapes names them.

    A picture depends on seed, split and its number only, not on how many are written.
    """

    def save(split: str, frame: int) -> None:
        pair = draw(seed, SPLITS[split] * STREAM + frame, height, width)
        for (kind, suffix), pixels in zip(FILES.items(), pair, strict=True):
            path = root / kind / split / "scene" / f"scene_000000_{frame:06d}_{suffix}.png"
            Image.fromarray(pixels).save(path, compress_level=1)  # the fast one

    with ThreadPoolExecutor() as pool:
        for split, count in counts.items():
            for kind in FILES:
                (root / kind / split / "scene").mkdir(parents=True)
            list(pool.map(save, [split] * count, range(count)))
