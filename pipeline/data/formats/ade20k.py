"""ADE20K as the scene parsing challenge ships it, ADEChallengeData2016: 150 classes."""

from pathlib import Path

from pipeline.data.formats.base import Dataset, Pair, make_lookup_table, voc_colour
from pipeline.data.formats.files import list_files, match

# In the order of objectInfo150.txt, each by its first name there.
_CLASSES = """
wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person,
earth, door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea,
mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion,
base, box, column, signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace,
refrigerator, grandstand, path, stairs, runway, case, pool table, pillow, screen door, stairway,
river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop, stove,
palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light,
truck, tower, chandelier, awning, streetlight, booth, television, airplane, dirt track, apparel,
pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain,
conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent,
bag, minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle,
lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan,
pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock, flag
"""
_NAMES = tuple(" ".join(name.split()) for name in _CLASSES.split(","))
_FOLDERS = {"train": "training", "val": "validation"}
_OTHER_OBJECTS = 0
_DOWNLOAD = (
    "download ADEChallengeData2016.zip (about 1 GB) from sceneparsing.csail.mit.edu and unpack it; "
    "for the test split, unpack release_test.zip from there into its folder"
)


def list_pairs(root: Path, split: str) -> list[Pair]:
    """Return the samples of a split in the order of their names."""
    images, labels = (
        list_files(root / kind / _FOLDERS[split], suffix, _DOWNLOAD)
        for kind, suffix in (("images", ".jpg"), ("annotations", ".png"))
    )
    return [Pair(name, images[name], labels[name]) for name in match(images, labels, split)]


def list_test_images(root: Path) -> list[tuple[str, Path]]:
    """Return the names and images of release_test.zip, unpacked in the same folder."""
    return sorted(list_files(root / "release_test" / "testing", ".jpg", _DOWNLOAD).items())


DATASET = Dataset(
    name="ade20k",
    classes=_NAMES,
    colours=tuple(voc_colour(i + 1) for i in range(len(_NAMES))),
    lookup=make_lookup_table({i + 1: i for i in range(len(_NAMES))}, ignored=[_OTHER_OBJECTS]),
    pairs=list_pairs,
    published_counts={"train": 20210, "val": 2000},
    size=(512, 683),
    sizes_differ=True,
    folders=("images", "annotations"),
    download=_DOWNLOAD,
    test_images=list_test_images,
    hints={255: "255 is in copies whose labels were reduced by one; use the publisher's"},
)
