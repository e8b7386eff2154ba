"""Find the images to predict, and name each file that is left out."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from pipeline.data.formats.files import FORMATS
from pipeline.engine.errors import InputError

SUFFIXES = {s for s, form in Image.registered_extensions().items() if form in FORMATS}


class Job(NamedTuple):
    """An image, and the name of its outputs, without a suffix."""

    file: Path
    name: str


def find_images(inputs: Sequence[Path], out: Path) -> tuple[list[Job], list[str]]:
    """Find the images among the inputs and in their folders, at any depth.

    Links to folders are followed, but no folder is read twice, so a circle of links ends.

    Args:
        inputs: Images, or folders of images.
        out: The folder of the outputs.

    Returns:
        The images, and a line for each file that is left out, with the reason.

    Raises:
        InputError: A folder holds no image or holds `out`, or two images have the same output.
    """
    images: list[Job] = []
    omissions: list[str] = []
    for path in inputs:
        if not path.is_dir():
            images.append(Job(path, path.stem))
            continue
        if out.resolve().is_relative_to(path.resolve()):
            raise InputError(f"--out {out} lies in the input {path}; give a folder elsewhere")
        files, others = _list_images(path, out)
        omissions += others
        if not files:
            raise InputError(
                f"{path} must hold at least one image, as {', '.join(sorted(SUFFIXES))}"
            )
        images += [Job(f, f.relative_to(path).with_suffix("").as_posix()) for f in files]
    _refuse_same_output(images)
    return images, omissions


def _list_images(folder: Path, out: Path) -> tuple[list[Path], list[str]]:
    """Return the images in a folder at any depth, and why each other file is left out."""
    files: list[Path] = []
    omissions: list[str] = []
    visits = {out.resolve()}
    queue = deque([folder])
    while queue:
        current = queue.popleft()
        if current.resolve() in visits:
            omissions.append(f"{current}: a link to a folder that is read already, or to --out")
            continue
        visits.add(current.resolve())
        try:
            entries = sorted(current.iterdir())
        except OSError as error:
            omissions.append(f"{current}: cannot be read ({error.strerror})")
            continue
        for entry in entries:
            if entry.name.startswith("."):
                omissions.append(f"{entry}: hidden")
            elif entry.is_dir():
                # Links come last, so that a file has the name of its own folder.
                (queue.append if entry.is_symlink() else queue.appendleft)(entry)
            elif entry.suffix.lower() in SUFFIXES:
                files.append(entry)
            else:
                omissions.append(f"{entry}: its suffix is not that of an image")
    return sorted(files), sorted(omissions)


def _refuse_same_output(images: Sequence[Job]) -> None:
    """Refuse two images with the same output, and an output that is the folder of another."""
    sources: dict[str, Path] = {}
    for file, name in images:
        if name in sources:
            raise InputError(
                f"{sources[name]} and {file} would both be written as {name}.png; rename one"
            )
        sources[name] = file
    files = {f"{name}.png": file for name, file in sources.items()}
    for name, file in sources.items():
        for above in Path(name).parents:
            if (other := files.get(above.as_posix())) is not None:
                raise InputError(
                    f"{other} would be written as {above}, which must be a folder for {file}; "
                    f"rename one"
                )
