"""Find and decode a dataset's files; every problem is an InputError with the file's name.

Images leave this module as uint8 (H, W, 3), with the height and width of the file's header.
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

from pipeline.engine.errors import InputError

_FAULTS = (OSError, EOFError, RuntimeError, SyntaxError, ValueError, Image.DecompressionBombError)
MAX_PROBLEMS = 10  # in one message
_MODES = {  # Pillow's modes whose names do not describe them
    "1": "a 1-bit image",
    "I": "a 16-bit image",
    "I;16": "a 16-bit image",
    "P": "a palette image",
}
_LOW_DEPTHS = {"L;2": "a 2-bit image", "L;4": "a 4-bit image"}  # Pillow multiplies their values
# Other formats need a program (EPS), hold vectors or several sizes, or are no photographs.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


def join_problems(problems: Sequence[str], what: str) -> InputError:
    """Return one error with the number of problems and the first MAX_PROBLEMS of them."""
    first = f" (the first {MAX_PROBLEMS})" if len(problems) > MAX_PROBLEMS else ""
    return InputError("\n  ".join([f"{len(problems)} {what}{first}:", *problems[:MAX_PROBLEMS]]))


def describe_missing(file: Path) -> str:
    """Return a sentence that a file, or the target of a link, is missing."""
    if file.is_symlink():
        return f"{file} is a link to {file.readlink()}, which is missing"
    return f"{file} is missing"


@contextmanager
def _name_file_in_errors(file: Path) -> Iterator[None]:
    """Turn the errors of reading a file into InputErrors that name it."""
    try:
        if file.exists() and not file.is_file():  # because reading a pipe would wait
            raise InputError(f"{file} must be a regular file")
        yield
    except UnidentifiedImageError:
        raise InputError(f"{file} must be an image") from None
    except FileNotFoundError:
        raise InputError(describe_missing(file)) from None
    except PermissionError:
        raise InputError(f"{file}: no permission to read it") from None
    except _FAULTS as error:
        raise InputError(f"{file}: cannot be read ({error}); fetch it again") from None


def _open_image(file: Path | BytesIO) -> PillowFile:
    return Image.open(file, formats=FORMATS)


def read_header(file: Path) -> PillowFile:
    """Return an image file with its header read, but no pixels."""
    with _name_file_in_errors(file), _open_image(file) as image:
        return image


def _decode(file: Path, image: PillowFile, mode: str, rows: int | None = None) -> npt.NDArray[Any]:
    """Return the first rows of an image, all if `rows` is None.

    Only those rows of a PNG are decoded, unless it is interlaced.

    Args:
        file: The image file.
        image: Its header.
        mode: Pillow's mode of the result.
        rows: The number of rows.

    Returns:
        uint8 (H, W, 3) for the mode RGB, otherwise (H, W).
    """
    height = min(rows or image.height, image.height)
    with _name_file_in_errors(file):
        if image.format == "PNG" and image.mode == mode in ("L", "RGB"):
            png = file.read_bytes()
            if not image.info.get("interlace"):
                # The decoder stops at the height in the header, and reads no checksum.
                png = b"".join((png[:20], height.to_bytes(4), png[24:]))
            pixels = pyspng.load(png, format=mode)  # in half of Pillow's time
        else:
            with _open_image(file) as photograph:
                pixels = np.asarray(photograph.convert(mode))
    pixels = pixels[:height]
    shape = (height, image.width, 3) if mode == "RGB" else (height, image.width)
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise InputError(
            f"{file}: decoded to {pixels.dtype} {pixels.shape}; its header promises uint8 {shape}"
        )
    return pixels


class ImageFile:
    """The RGB pixels (H, W, 3) of a file, decoded when they are sliced or made an array."""

    def __init__(self, file: Path) -> None:
        self._file, self._header = file, read_header(file)
        if self._header.mode.startswith(("I", "F")):
            raise InputError(f"{file} must have 8 bits a channel, got mode {self._header.mode}")
        self.shape = self._header.height, self._header.width, 3

    def __getitem__(self, window: tuple[slice, slice]) -> npt.NDArray[np.uint8]:
        return _decode(self._file, self._header, "RGB", window[0].stop)[window]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[np.uint8]:
        return _decode(self._file, self._header, "RGB")


def read_intact(file: Path) -> bytes:
    """Return the bytes of an image file, checked by a PNG's checksums, otherwise by decoding it."""
    with _name_file_in_errors(file):
        content = file.read_bytes()
        with _open_image(BytesIO(content)) as image:
            image.verify() if image.format == "PNG" and image.tile else image.load()
    return content


def read_upright(file: Path) -> npt.NDArray[np.uint8]:
    """Return the RGB pixels (H, W, 3) of a photograph, turned upright by the camera's note."""
    pixels = np.asarray(ImageFile(file))
    with _name_file_in_errors(file), _open_image(file) as image:
        image.load()  # this turns a TIFF already, and removes the note
        turn = _read_orientation(image)
    photograph = Image.fromarray(pixels)
    photograph.getexif()[ExifTags.Base.Orientation] = turn
    return np.asarray(ImageOps.exif_transpose(photograph))


def count_frames(file: Path) -> int:
    """Return the number of pictures in a file, 1 if it cannot be read.

    A JPEG counts as one, because its further pictures are previews and depths.
    """
    try:
        with _open_image(file) as image:
            return 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
    except _FAULTS:
        return 1


def _read_orientation(image: PillowFile) -> int:
    """Return the EXIF orientation, 1 (upright) if it cannot be read."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # of any type, and the pixels are good all the same
        return 1
    return orientation if isinstance(orientation, int) else 1


def read_labels(file: Path, modes: Sequence[str] = ("L",)) -> npt.NDArray[Any]:
    """Return the values (H, W) of a label image; "P" among `modes` allows a palette."""
    image = read_header(file)
    if image.format != "PNG":
        raise InputError(f"{file} must be a PNG, as published, got {image.format}")
    low_depth = _LOW_DEPTHS.get(str(image.tile[0].args)) if image.tile else None
    if image.mode not in modes or low_depth:
        allowed = "grey or palette" if "P" in modes else "grey"
        raise InputError(
            f"{file} must hold 8-bit {allowed} label values, as published, got "
            f"{low_depth or _MODES.get(image.mode, f'an {image.mode} image')}"
        )
    read_intact(file)  # because the decoder reads no checksums
    return _decode(file, image, image.mode)


def list_files(folder: Path, suffix: str, download: str) -> dict[str, Path]:
    """Return the files of a folder that end in `suffix`, by name without it, but no hidden ones.

    download: what to get, for the message if there is no folder.
    """
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
    """Return the names in order; refuse an empty split, and an image or label without the other."""
    if not images and not labels:
        raise InputError(f"the {split} split must have at least one image")
    unmatched = [
        f"{have[name]}: the {what} has no {lacks}"
        for have, lack, what, lacks in (
            (images, labels, "image", "label"),
            (labels, images, "label", "image"),
        )
        for name in sorted(have.keys() - lack.keys())
    ]
    if unmatched:
        raise join_problems(unmatched, f"images or labels in {split} have no partner")
    unreadable = [
        f"{images[n]}: its name must be UTF-8; rename it" for n in images if not _is_utf8(n)
    ]
    if unreadable:
        raise join_problems(unreadable, f"names in {split} cannot be recorded")
    return sorted(images)


def _is_utf8(name: str) -> bool:
    """Return whether a name is UTF-8; Python stores other bytes as lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)
