"""Find the images to predict, and name each file that is left out."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from pipeline.common.cli import InputError
from pipeline.datasets.files import FORMATS

SUFFIXES = {s for s, form in Image.registered_extensions().items() if form in FORMATS}


class Job(NamedTuple):
    """An image, and the name of what is written for it."""

    file: Path
    name: str


def find(inputs: Sequence[Path], out: Path) -> tuple[list[Job], list[str]]:
    """Return the images given and those in and below the folders given, and what is left out.

    Links to folders are followed, but no folder is read twice, so a circle of links ends.

    Raises:
        InputError: If a folder holds no image or `out`, or if two images would be written to one
            file.
    """
    work: list[Job] = []
    left_out: list[str] = []
    for given in inputs:
        if not given.is_dir():
            work.append(Job(given, given.stem))
            continue
        if out.resolve().is_relative_to(given.resolve()):
            raise InputError(f"--out {out} lies in the input {given}; give a folder elsewhere")
        files, others = _below(given, out)
        left_out += others
        if not files:
            raise InputError(f"{given}: holds no image; read are {', '.join(sorted(SUFFIXES))}")
        work += [Job(f, f.relative_to(given).with_suffix("").as_posix()) for f in files]
    _refuse_same_output(work)
    return work, left_out


def _below(folder: Path, out: Path) -> tuple[list[Path], list[str]]:
    """Return the images in and below a folder, and why each other file is none."""
    files: list[Path] = []
    left_out: list[str] = []
    seen = {out.resolve()}
    waiting = deque([folder])
    while waiting:
        current = waiting.popleft()
        if current.resolve() in seen:
            left_out.append(f"{current}: a link to a folder that is read already, or to --out")
            continue
        seen.add(current.resolve())
        try:
            entries = sorted(current.iterdir())
        except OSError as error:
            left_out.append(f"{current}: cannot be read ({error.strerror})")
            continue
        for entry in entries:
            if entry.name.startswith("."):
                left_out.append(f"{entry}: hidden")
            elif entry.is_dir():
                # Links come last, so that a file has the name of its own folder.
                (waiting.append if entry.is_symlink() else waiting.appendleft)(entry)
            elif entry.suffix.lower() in SUFFIXES:
                files.append(entry)
            else:
                left_out.append(f"{entry}: its suffix is not that of an image")
    return sorted(files), sorted(left_out)


def _refuse_same_output(work: Sequence[Job]) -> None:
    """Refuse two images of one name, and one whose output would be the folder of another's."""
    written: dict[str, Path] = {}
    for file, name in work:
        if name in written:
            raise InputError(
                f"{written[name]} and {file} would both be written as {name}.png; rename one"
            )
        written[name] = file
    files = {f"{name}.png": file for name, file in written.items()}
    for name, file in written.items():
        for above in Path(name).parents:
            if (other := files.get(above.as_posix())) is not None:
                raise InputError(
                    f"{other} would be written as {above}, which must be a folder for {file}; "
                    f"rename one"
                )
