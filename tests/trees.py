"""Small trees of files in each dataset's published layout, large enough to train on."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

SIZE = (72, 80)
SIZES = (SIZE, (64, 96), (96, 64))  # of the datasets whose images differ in size


def image(path: Path, size: tuple[int, int] = SIZE, seed: int = 0) -> Path:
    """An RGB image of noise, in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of these chunks, each a kind and its data, with right checksums."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def label(path: Path, values: int, size: tuple[int, int] = SIZE, seed: int = 0) -> Path:
    """A grey PNG of label values below `values`; the highest occurs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, values, size).astype(np.uint8)
    pixels[0, 0] = values - 1
    Image.fromarray(pixels).save(path)
    return path


def cityscapes(root: Path) -> Path:
    """Four images in two cities to train on, two in one city to validate, two to test."""
    cities = (("train", "aachen"), ("train", "bochum"), ("val", "lindau"), ("test", "berlin"))
    for split, city in cities:
        for i in range(2):
            name = f"{city}/{city}_{i:06d}_000019"
            image(root / "leftImg8bit" / split / f"{name}_leftImg8bit.png", seed=i)
            values = 1 if split == "test" else 34  # the test split's labels are withheld
            label(root / "gtFine" / split / f"{name}_gtFine_labelIds.png", values, seed=i)
            image(root / "gtFine" / split / f"{name}_gtFine_color.png", seed=i)
            (root / "gtFine" / split / f"{name}_gtFine_polygons.json").write_text(
                "{}", encoding="utf-8"
            )
    return root


def camvid(root: Path) -> Path:
    """Three images in each split."""
    for split in ("train", "val", "test"):
        for i in range(3):
            image(root / split / f"0001TP_{i:06d}.png", seed=i)
            label(root / f"{split}annot" / f"0001TP_{i:06d}.png", 12, seed=i)
        (root / f"{split}.txt").write_text("", encoding="utf-8")
    return root


def ade20k(root: Path) -> Path:
    """Four images to train on and two to validate."""
    for folder, split, count in (("training", "train", 4), ("validation", "val", 2)):
        for i in range(count):
            name, size = f"{folder}/ADE_{split}_{i + 1:08d}", SIZES[i % 3]
            image(root / "images" / f"{name}.jpg", size, seed=i)
            label(root / "annotations" / f"{name}.png", 151, size, seed=i)
    (root / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tStuff\tName\n", encoding="utf-8"
    )
    return root


def pascal_context(root: Path, form: str = "mat") -> Path:
    """Four images to train on and two to validate; labels in `form` mat or png, of equal content.

    The label numbers are those of a few classes and, in mat, of what counts as background.
    """
    numbers = np.array([0, 2, 9, 284, 440, 458])
    merged = np.array([0, 1, 2, 37, 56, 59])
    names = {"train": [f"2008_{i:06d}" for i in range(4)], "val": ["2009_000001", "2010_000002"]}
    (root / "ImageSets/Main").mkdir(parents=True)
    for split, listed in names.items():
        (root / f"ImageSets/Main/{split}.txt").write_text(
            "".join(f"{n}\n" for n in listed), encoding="utf-8"
        )
        for i, name in enumerate(listed):
            size = SIZES[i % 3]
            image(root / "JPEGImages" / f"{name}.jpg", size, seed=i)
            (root / "Annotations").mkdir(exist_ok=True)
            (root / "Annotations" / f"{name}.xml").write_text("<annotation/>", encoding="utf-8")
            drawn = np.random.default_rng(i).integers(0, len(numbers), size)
            if form == "mat":
                (root / "trainval").mkdir(exist_ok=True)
                values = numbers[drawn].astype(np.uint16)
                values[values == 0] = 1 + 2 * i  # labels, but none of the 59
                savemat(root / "trainval" / f"{name}.mat", {"LabelMap": values})
            else:
                (root / "SegmentationClassContext").mkdir(exist_ok=True)
                png = Image.fromarray(merged[drawn].astype(np.uint8)).convert("P")
                png.putdata(merged[drawn].ravel().tolist())
                png.save(root / "SegmentationClassContext" / f"{name}.png")
    image(root / "JPEGImages/2007_000001.jpg")  # VOC has more images than the splits
    return root


TREES: dict[str, Callable[[Path], Path]] = {
    "cityscapes": cityscapes,
    "camvid": camvid,
    "ade20k": ade20k,
    "pascal_context": pascal_context,
}
