"""Draw street scenes that only long-range context can solve, in Cityscapes' layout.

One end of a picture, left or right at random, holds the cues. The other end holds objects that
look exactly alike across classes. Only a cue tells their class:

    truck, bus, train      what stands at the depot: a car, terrain or vegetation
    wall, fence            what most of the posts are: traffic signs or traffic lights
    person, rider          the same posts
    bicycle, motorcycle    the same posts

The gap between the ends is wider than the receptive field of the small backbone at output stride
8. So a network without a non-local block can only guess. The cues are objects of classes that the
network learns anyway, which makes its attention start within a hundred iterations. There are one
to nine posts, each as large as one cell of the feature map. Nine of a kind are easy. A coarse
sampling may lose a single post, or a narrow majority.

Sizes are in units of height / 16, a cell of output stride 8 at height 128. Places lie on a grid
of a sixteenth of a unit, and all arithmetic is elementwise, so that a picture is the same on every
machine.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cityscapesscripts.helpers.labels import name2label
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

UNITS = 16  # in the height; the width should be at least 32
CUE_END, FAR_START = 10 / 32, 21 / 32  # of the width
NOISE = 12  # grey levels, each pixel by itself
TINT = 10  # grey levels, each box by itself

COLOURS: dict[str, Colour] = {
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
# Each group of look-alikes has one colour, so that no pixel tells the class.
for names, colour in (
    (("truck", "bus", "train"), (225, 225, 225)),
    (("wall", "fence"), (200, 60, 170)),
    (("person", "rider"), (215, 130, 90)),
    (("bicycle", "motorcycle"), (100, 25, 95)),
):
    COLOURS.update(dict.fromkeys(names, colour))

DEPOTS = {"car": "truck", "terrain": "bus", "vegetation": "train"}
POSTS = {
    "traffic sign": ("wall", "person", "bicycle"),
    "traffic light": ("fence", "rider", "motorcycle"),
}
POST_ROWS, POST_COLUMNS = 3, 5  # the grid of the posts' places
SPLITS = {"train": 0, "val": 1}
FILES = {"leftImg8bit": "leftImg8bit", "gtFine": "gtFine_labelIds"}  # folder and suffix
STREAM = 1_000_000  # the most pictures of a split; the other split's follow


class Canvas:
    """A picture and its labels, painted with boxes; units from the top left corner."""

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.rng, self.unit = rng, height / UNITS
        self.width = width / self.unit
        self.image = np.zeros((height, width, 3), np.int16)
        self.label = np.zeros((height, width), np.uint8)

    def pick(self, low: float, high: float) -> float:
        """Return a random place or size on the grid.

        It draws a whole number, because rounding in numpy's uniform may depend on the machine.
        """
        return low + int(self.rng.integers(int((high - low) * 16) + 1)) / 16

    def paint_box(self, name: str, x: float, y: float, width: float, height: float) -> None:
        """Paint an object of the class `name` over what is there; sizes in units."""
        left, top, right, bottom = (int(v * self.unit) for v in (x, y, x + width, y + height))
        tint = self.rng.integers(-TINT, TINT + 1, 3)
        self.image[top:bottom, left:right] = np.add(COLOURS[name], tint)
        self.label[top:bottom, left:right] = name2label[name].id

    def finish(self) -> tuple[Pixels, Pixels]:
        """Add noise, mirror at random, and return the picture and the labels."""
        noise = self.rng.integers(-NOISE, NOISE + 1, self.image.shape, np.int16)
        image = np.clip(self.image + noise, 0, 255).astype(np.uint8)
        step = -1 if self.rng.integers(2) else 1
        return tuple(np.ascontiguousarray(x[:, ::step]) for x in (image, self.label))  # type: ignore


def draw(seed: int, index: int, height: int, width: int) -> tuple[Pixels, Pixels]:
    """Return picture `index` of the stream `seed`: RGB (H, W, 3) and label ids (H, W)."""
    rng = np.random.default_rng((seed, index))
    canvas = Canvas(rng, height, width)
    depot = list(DEPOTS)[rng.integers(len(DEPOTS))]
    post, other = (list(POSTS)[i] for i in rng.permutation(len(POSTS)))
    _paint_street(canvas)
    _paint_posts(canvas, post, other)
    _paint_depot(canvas, depot)
    _paint_look_alikes(canvas, DEPOTS[depot], *POSTS[post])
    return canvas.finish()


def _paint_street(canvas: Canvas) -> None:
    """Paint what is no cue: the ground, the houses and the poles."""
    width, pick = canvas.width, canvas.pick
    canvas.paint_box("sky", 0, 0, width, 3)
    x, roof = 0.0, pick(1, 2.5)
    while x < width:
        house = pick(2, 7)
        canvas.paint_box("building", x, roof, house, 9 - roof)
        x += house
    canvas.paint_box("sidewalk", 0, 8.5, width, 2)
    canvas.paint_box("road", 0, 10.5, width, 5)
    canvas.paint_box("ego vehicle", 0, 15.5, width, 0.5)
    for _ in range(2):
        canvas.paint_box("pole", pick(0, width), 2, 0.75, 8)


def _paint_posts(canvas: Canvas, post: str, other: str) -> None:
    """Paint an odd number of posts, most of them `post`, none over another."""
    total = 2 * int(canvas.rng.integers(5)) + 1
    majority = int(canvas.rng.integers(total // 2 + 1, total + 1))
    pitch = canvas.width * CUE_END / POST_COLUMNS
    places = canvas.rng.permutation(POST_ROWS * POST_COLUMNS)
    for i, place in enumerate(places[:total].tolist()):
        row, column = divmod(place, POST_COLUMNS)
        x, y = (
            column * pitch + canvas.pick(0, 1),
            1 + row * 2.5 + canvas.pick(0, 1),
        )
        canvas.paint_box(post if i < majority else other, x, y, 1, 1)


def _paint_depot(canvas: Canvas, depot: str) -> None:
    """Paint the object that tells the class of the vehicle."""
    size = canvas.pick(2.5, 4)
    x = canvas.pick(0, canvas.width * CUE_END - 2 * size)
    canvas.paint_box(depot, x, canvas.pick(11, 15 - size), 2 * size, size)


def _paint_look_alikes(canvas: Canvas, vehicle: str, strip: str, walker: str, bike: str) -> None:
    """Paint the objects at the far end whose class only a cue tells."""
    end, pick = canvas.width, canvas.pick
    start = end * FAR_START
    canvas.paint_box(strip, start, pick(4, 5), end - start, 2.5)
    for _ in range(4):
        canvas.paint_box(walker, pick(start, end - 1.25), pick(7.5, 8.5), 1.25, 3)
    canvas.paint_box(vehicle, pick(start, end - 5), pick(10, 11), 5, 3)
    for _ in range(3):
        canvas.paint_box(bike, pick(start, end - 2), pick(12.5, 13.5), 2, 1.75)


def write(root: Path, *, counts: Mapping[str, int], seed: int, height: int, width: int) -> None:
    """Write counts[split] pictures of each split under `root`, with Cityscapes' names.

    A picture depends on the seed, the split and its number, but not on the counts.
    """

    def save(split: str, frame: int) -> None:
        pair = draw(seed, SPLITS[split] * STREAM + frame, height, width)
        for (kind, suffix), pixels in zip(FILES.items(), pair, strict=True):
            path = root / kind / split / "scene" / f"scene_000000_{frame:06d}_{suffix}.png"
            Image.fromarray(pixels).save(path, compress_level=1)  # the fastest

    with ThreadPoolExecutor() as pool:
        for split, count in counts.items():
            for kind in FILES:
                (root / kind / split / "scene").mkdir(parents=True)
            list(pool.map(save, [split] * count, range(count)))
