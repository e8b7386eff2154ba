"""Compute the disk space that decoded samples need, and refuse a disk with less."""

import math
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.data.formats import Pair
from pipeline.data.formats.files import read_header
from pipeline.engine.errors import InputError

CHANNELS = 4  # bytes of a pixel: RGB and the class id


def estimate_bytes(pairs: Sequence[Pair]) -> int:
    """Return the bytes of the decoded samples, without those of images with unreadable headers."""
    with ThreadPoolExecutor() as pool:
        return CHANNELS * sum(pool.map(_count_pixels, (pair.image for pair in pairs)))


def _count_pixels(file: Path) -> int:
    try:
        return math.prod(read_header(file).size)
    except Exception:  # decoding will report it with the reason
        return 0


def require_space(folder: Path, size: int, count: int, what: str, other: str) -> None:
    """Print the space that files still need in `folder`; refuse if there is less.

    Args:
        folder: The folder, with the files that are written already.
        size: The bytes of all files.
        count: The number of images.
        what: What needs the space, for the message.
        other: What else the user can do.
    """
    size_on_disk = sum(file.stat().st_size for file in folder.glob("*.bin"))
    missing_size = max(0, size - size_on_disk)
    free = shutil.disk_usage(folder).free
    need, room = _format_size(missing_size), _format_size(free)
    more = " more" if size_on_disk else ""
    print(f"{count} {what} need {need}{more}; {room} are free", flush=True)
    if missing_size > free:
        raise InputError(
            f"{folder}: {what} need {need} and {room} are free; free space, or {other}"
        )


def _format_size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
