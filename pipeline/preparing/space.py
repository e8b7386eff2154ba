"""Room on the disk for the decoded samples, known from the images' headers."""

import math
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.common.cli import InputError
from pipeline.datasets import Pair
from pipeline.datasets.files import header

CHANNELS = 4  # bytes a pixel: RGB and the class id


def need(pairs: Sequence[Pair]) -> int:
    """Bytes of the decoded samples; an image without a readable header adds nothing."""
    with ThreadPoolExecutor() as pool:
        return CHANNELS * sum(pool.map(_pixels, (pair.image for pair in pairs)))


def _pixels(file: Path) -> int:
    try:
        return math.prod(header(file).size)
    except Exception:  # told with its reason when it is decoded
        return 0


def require(pairs: Sequence[Pair], folder: Path) -> None:
    """Tell what the decoded samples still need in `folder`; refuse it where there is less."""
    written = sum(file.stat().st_size for file in folder.glob("*.bin"))
    needed, free = max(0, need(pairs) - written), shutil.disk_usage(folder).free
    more = " more" if written else ""
    print(
        f"{len(pairs)} images to decode need {_told(needed)}{more}; {_told(free)} are free",
        flush=True,
    )
    if needed > free:
        raise InputError(
            f"{folder}: the decoded images need {_told(needed)} and {_told(free)} are free; make "
            f"room, or let the profile say prepare: {{decode: false}}"
        )


def _told(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
