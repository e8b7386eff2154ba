"""Finding and decoding a dataset's files; every problem is an InputError with the file's name.

Pixels that leave this module are (H, W, 3) uint8, with the height and width that the file's header
says.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyspng
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile as PillowFile

from pipeline.common.cli import InputError

_FAULTS = (OSError, EOFError, RuntimeError, SyntaxError, ValueError, Image.DecompressionBombError)
LISTED = 10  # problems told at once
_MODES = {  # of Pillow, where the name does not say it
    "1": "a 1-bit image",
    "I": "a 16-bit image",
    "I;16": "a 16-bit image",
    "P": "a palette image",
}
_SPREAD = {"L;2": "a 2-bit image", "L;4": "a 4-bit image"}  # Pillow multiplies their values
# Others need a program (EPS), hold vectors or several sizes, or are no photographs.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


def several(problems: Sequence[str], what: str) -> InputError:
    """One error that tells up to LISTED problems and how many there are."""
    first = f" (the first {LISTED})" if len(problems) > LISTED else ""
    return InputError("\n  ".join([f"{len(problems)} {what}{first}:", *problems[:LISTED]]))


def missing(file: Path) -> str:
    """Say that a file is not there, or that the link's target is not."""
    if file.is_symlink():
        return f"{file} is a link to {file.readlink()}, which is missing"
    return f"{file} is missing"


@contextmanager
def _told_by_name(file: Path) -> Iterator[None]:
    try:
        if file.exists() and not file.is_file():  # a pipe would be waited for
            raise InputError(f"{file}: not a file")
        yield
    except UnidentifiedImageError:
        raise InputError(f"{file}: not an image") from None
    except FileNotFoundError:
        raise InputError(missing(file)) from None
    except PermissionError:
        raise InputError(f"{file}: no permission to read it") from None
    except _FAULTS as error:
        raise InputError(f"{file}: cannot be read ({error}); fetch it again") from None


def _opened(file: Path | BytesIO) -> PillowFile:
    return Image.open(file, formats=FORMATS)


def header(file: Path) -> PillowFile:
    """An image file, of which only the header is read."""
    with _told_by_name(file), _opened(file) as image:
        return image


def _decode(file: Path, image: PillowFile, mode: str, rows: int | None = None) -> npt.NDArray[Any]:
    """Return the first rows of a file with this header: uint8, (H, W), or (H, W, 3) in mode RGB.

    A PNG is decoded from the top; of one that is not interlaced, the first `rows` are enough.
    """
    height = min(rows or image.height, image.height)
    with _told_by_name(file):
        if image.format == "PNG" and image.mode == mode in ("L", "RGB"):
            png = file.read_bytes()
            if not image.info.get("interlace"):
                # The height in the header says where the decoder, which reads no checksum, stops.
                png = b"".join((png[:20], height.to_bytes(4), png[24:]))
            pixels = pyspng.load(png, format=mode)  # in half of Pillow's time
        else:
            with _opened(file) as decoded:
                pixels = np.asarray(decoded.convert(mode))
    pixels = pixels[:height]
    shape = (height, image.width, 3) if mode == "RGB" else (height, image.width)
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise InputError(
            f"{file}: decoded to {pixels.dtype} {pixels.shape}; its header promises uint8 {shape}"
        )
    return pixels


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
        with _opened(BytesIO(content)) as image:
            image.verify() if image.format == "PNG" and image.tile else image.load()
    return content


def read_upright(file: Path) -> npt.NDArray[np.uint8]:
    """Return RGB pixels (H, W, 3) of a photograph, turned as the camera says that it was held."""
    pixels = np.asarray(ImageFile(file))
    with _told_by_name(file), _opened(file) as image:
        image.load()  # which itself turns a TIFF, and takes the note off
        turn = _orientation(image)
    photograph = Image.fromarray(pixels)
    photograph.getexif()[ExifTags.Base.Orientation] = turn
    return np.asarray(ImageOps.exif_transpose(photograph))


def frames(file: Path) -> int:
    """Return how many pictures a file holds, as far as it can be read.

    Those of a JPEG after the first are previews and depths, which do not count.
    """
    try:
        with _opened(file) as image:
            return 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
    except _FAULTS:
        return 1


def _orientation(image: PillowFile) -> int:
    """Return the EXIF orientation; a note that cannot be read turns nothing."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises whatever the bytes lead to, and the pixels are good
        return 1
    return orientation if isinstance(orientation, int) else 1


def read_labels(file: Path, modes: Sequence[str] = ("L",)) -> npt.NDArray[Any]:
    """The values (H, W) of a label image; "P" among `modes` allows a palette."""
    image = header(file)
    if image.format != "PNG":
        raise InputError(f"{file}: a {image.format} image; allowed are PNGs, as published")
    spread = _SPREAD.get(str(image.tile[0].args)) if image.tile else None
    if image.mode not in modes or spread:
        allowed = "grey or palette" if "P" in modes else "grey"
        raise InputError(
            f"{file}: {spread or _MODES.get(image.mode, f'an {image.mode} image')}; allowed are "
            f"8-bit {allowed} label values, as published"
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
        f"{have[name]}: the {what} has no {lacks}"
        for have, lack, what, lacks in (
            (images, labels, "image", "label"),
            (labels, images, "label", "image"),
        )
        for name in sorted(have.keys() - lack.keys())
    ]
    if alone:
        raise several(alone, f"files in {split} lack their other half")
    unreadable = [f"{images[n]}: its name is no UTF-8; rename it" for n in images if not _utf8(n)]
    if unreadable:
        raise several(unreadable, f"names in {split} cannot be recorded")
    return sorted(images)


def _utf8(name: str) -> bool:
    """Whether a name can be written as UTF-8; Python keeps other bytes as lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)
