"""Compute from the images' headers the disk space that the decoded samples need."""

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


def require_space(pairs: Sequence[Pair], folder: Path) -> None:
    """Print the space that the decoded samples still need in `folder`; refuse if there is less."""
    size_on_disk = sum(file.stat().st_size for file in folder.glob("*.bin"))
    missing_size = max(0, estimate_bytes(pairs) - size_on_disk)
    free = shutil.disk_usage(folder).free
    need, room = _format_size(missing_size), _format_size(free)
    more = " more" if size_on_disk else ""
    print(
        f"{len(pairs)} images to decode need {need}{more}; {room} are free",
        flush=True,
    )
    if missing_size > free:
        raise InputError(
            f"{folder}: the decoded images need {need} and {room} are free; make room, or "
            f"let the profile say prepare: {{decode: false}}"
        )


def _format_size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
