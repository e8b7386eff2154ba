"""Finding and decoding a dataset's files; every problem is an InputError with the file's name."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyspng
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.common.cli import InputError

_FAULTS = (OSError, RuntimeError, SyntaxError, ValueError, Image.DecompressionBombError)
LISTED = 10  # problems told at once
_MODES = {  # of Pillow, where the name does not say it
    "1": "a 1-bit image",
    "I": "a 16-bit image",
    "I;16": "a 16-bit image",
    "P": "a palette image",
}


def several(problems: Sequence[str], what: str) -> InputError:
    """One error that tells up to LISTED problems and how many there are."""
    first = f" (the first {LISTED})" if len(problems) > LISTED else ""
    return InputError("\n  ".join([f"{len(problems)} {what}{first}:", *problems[:LISTED]]))


@contextmanager
def _told_by_name(file: Path) -> Iterator[None]:
    try:
        yield
    except UnidentifiedImageError:
        raise InputError(f"{file}: not an image") from None
    except FileNotFoundError:
        raise InputError(f"{file} is missing") from None
    except PermissionError:
        raise InputError(f"{file}: no permission to read it") from None
    except _FAULTS as error:
        raise InputError(f"{file}: cannot be read ({error}); fetch it again") from None


def header(file: Path) -> Image.Image:
    """An image file, of which only the header is read."""
    with _told_by_name(file), Image.open(file) as image:
        return image


def _decode(file: Path, image: Image.Image, mode: str, rows: int | None = None) -> npt.NDArray[Any]:
    """The pixels of a file with this header, in a mode of Pillow: (H, W) or (H, W, 3).

    A PNG is decoded from the top; of one that is not interlaced, the first `rows` are enough.
    """
    with _told_by_name(file):
        if image.format == "PNG" and image.mode == mode in ("L", "RGB"):
            png = file.read_bytes()
            if rows and not image.info.get("interlace"):
                # The height in the header says where the decoder, which reads no checksum, stops.
                png = b"".join((png[:20], min(rows, image.height).to_bytes(4), png[24:]))
            return pyspng.load(png)  # in half of Pillow's time
        with Image.open(file) as decoded:
            return np.asarray(decoded.convert(mode))


class ImageFile:
    """The RGB pixels (H, W, 3) of a file: decoded when they are sliced, or made an array."""

    def __init__(self, file: Path) -> None:
        self._file, self._header = file, header(file)
        if self._header.mode.startswith(("I", "F")):
            raise InputError(f"{file}: mode {self._header.mode}; allowed are 8 bits a channel")
        self.shape = self._header.height, self._header.width, 3

    def __getitem__(self, window: tuple[slice, slice]) -> npt.NDArray[np.uint8]:
        return _decode(self._file, self._header, "RGB", window[0].stop)[window]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[np.uint8]:
        return _decode(self._file, self._header, "RGB")


def checked(file: Path) -> bytes:
    """The bytes of an image file that is whole: by a PNG's checksums, else by decoding it."""
    with _told_by_name(file):
        content = file.read_bytes()
        with Image.open(BytesIO(content)) as image:
            image.verify() if image.format == "PNG" and image.tile else image.load()
    return content


def read_upright(file: Path) -> npt.NDArray[np.uint8]:
    """RGB pixels (H, W, 3) of a photograph, turned as the camera says that it was held."""
    pixels = np.asarray(ImageFile(file))
    with _told_by_name(file), Image.open(file) as image:
        turned = Image.fromarray(pixels)
        turned.getexif().update(image.getexif())
        return np.asarray(ImageOps.exif_transpose(turned))


def read_labels(file: Path, modes: Sequence[str] = ("L",)) -> npt.NDArray[Any]:
    """The values (H, W) of a label image; "P" among `modes` allows a palette."""
    image = header(file)
    if image.format != "PNG":
        raise InputError(f"{file}: a {image.format} image; allowed are PNGs, as published")
    if image.mode not in modes:
        allowed = "grey or palette" if "P" in modes else "grey"
        raise InputError(
            f"{file}: {_MODES.get(image.mode, f'an {image.mode} image')}; allowed are 8-bit "
            f"{allowed} label values, as published"
        )
    checked(file)  # its checksums, which the decoder does not read
    return _decode(file, image, image.mode)


def listing(folder: Path, suffix: str, download: str) -> dict[str, Path]:
    """What `folder` holds with that suffix, by its name without it; hidden files are left out."""
    try:
        return {
            file.name.removesuffix(suffix): file
            for file in folder.iterdir()
            if file.name.endswith(suffix) and not file.name.startswith(".")
        }
    except PermissionError:
        raise InputError(f"{folder}: no permission to read it") from None
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder} is missing; {download}") from None


def match(images: Mapping[str, Path], labels: Mapping[str, Path], split: str) -> list[str]:
    """The names that both have, in order; refuse an empty split and files left alone."""
    if not images and not labels:
        raise InputError(f"the {split} split is empty")
    alone = [
        f"{have[name]}: the {what} has no {missing}"
        for have, lack, what, missing in (
            (images, labels, "image", "label"),
            (labels, images, "label", "image"),
        )
        for name in sorted(have.keys() - lack.keys())
    ]
    if alone:
        raise several(alone, f"files in {split} lack their other half")
    return sorted(images)


def check_root(root: Path, folders: Sequence[str]) -> None:
    """Where `root` is a level too high or too deep in the dataset, say which folder to give."""

    def fits(folder: Path) -> bool:
        return all((folder / name).is_dir() for name in folders)

    try:
        if fits(root):
            return
        near = [root.absolute().parent, *sorted(f for f in root.iterdir() if f.is_dir())]
        found = [folder for folder in near if fits(folder)]
    except PermissionError as error:
        raise InputError(f"{error.filename or root}: no permission to read it") from None
    if found:
        raise InputError(
            f"dataset_dir is {str(root)!r}; give {str(found[0])!r}, which holds "
            f"{' and '.join(folders)}"
        )
