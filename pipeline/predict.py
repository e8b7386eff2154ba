"""Predict images of your own with a trained network; no stage.

    python -m pipeline.predict CHECKPOINT INPUT... --out FOLDER

CHECKPOINT is weights/<profile>/<name>.safetensors, trained here or imported. It writes, for each
image, labels/<name>.png of class ids and overlays/<name>.png of the classes' colours over it, and
with --attention a picture of each non-local block in attention/. One image at a time is in memory.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ann import Attention, SegmentationNetwork, attention_blocks, network_attention
from pipeline.common import cli, params
from pipeline.common.cli import InputError
from pipeline.common.files import whole_file
from pipeline.common.params import Evaluate, Protocol
from pipeline.common.progress import Reporter
from pipeline.datasets import DATASETS
from pipeline.datasets.base import Pixels
from pipeline.datasets.files import header, read_upright
from pipeline.drawing.attention import anchor_grids, positions, side_by_side
from pipeline.drawing.colours import overlay, palette
from pipeline.scoring.predict import as_batch, as_shown, load
from pipeline.scoring.predict import predict as class_ids

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
CENTRE = (0.5, 0.5)


class Job(NamedTuple):
    """An image, and the name of what is written for it."""

    file: Path
    name: str


def jobs(inputs: Sequence[Path], out: Path) -> list[Job]:
    """The images given and those in and below the folders given, by name."""
    found: dict[str, Path] = {}
    for given in inputs:
        if given.is_dir():
            if out.resolve().is_relative_to(given.resolve()):
                raise InputError(f"--out {out} lies in the input {given}; give a folder elsewhere")
            files = {
                f.relative_to(given).with_suffix("").as_posix(): f
                for f in _unique(sorted(given.rglob("*")), given)
            }
            if not files:
                raise InputError(f"{given}: holds no image; read are {', '.join(sorted(SUFFIXES))}")
        else:
            files = {given.stem: given}
        for name, file in files.items():
            if name in found:
                raise _twice(name, found[name], file)
            found[name] = file
    return [Job(file, name) for name, file in found.items()]


def _unique(files: list[Path], folder: Path) -> Iterator[Path]:
    """The images among the files; refuse two that differ in their suffix only."""
    seen: dict[Path, Path] = {}
    for file in files:
        if file.suffix.lower() not in SUFFIXES or file.name.startswith("."):
            continue
        stem = file.with_suffix("")
        if stem in seen:
            raise _twice(stem.relative_to(folder).as_posix(), seen[stem], file)
        seen[stem] = file
        yield file


def _twice(name: str, one: Path, other: Path) -> InputError:
    return InputError(f"{one} and {other} would both be written as {name}.png; rename one")


def predict(
    network: SegmentationNetwork,
    work: Sequence[Job],
    out: Path,
    *,
    colours: Pixels,
    protocol: Protocol,
    settings: Evaluate,
    point: tuple[float, float] | None = None,
) -> None:
    """Write labels/ and overlays/ below `out`, and attention/ of a point if one is given.

    network: as `pipeline.scoring.predict.load` returns it. colours: (256, 3) by class id. point:
    from the top and from the left, in parts of the height and of the width.
    """
    with Reporter("predict", len(work)) as reporter:
        for done, (file, name) in enumerate(work, 1):
            image = read_upright(file)
            batch = as_batch([image])
            ids = class_ids(network, batch, protocol, settings)[0]
            pictures = {"labels": ids, "overlays": overlay(image, ids, colours)}
            if point:
                shown = as_shown(batch, settings)
                for block, found in network_attention(network, shown, point).items():
                    pictures[f"attention/{block}"] = drawn(network, image, block, found, point)
            for folder, pixels in pictures.items():
                kind, _, block = folder.partition("/")
                suffix = f"-{block}.png" if block else ".png"
                with _written(out), whole_file(out / kind / f"{name}{suffix}") as partial:
                    Image.fromarray(pixels).save(partial, "PNG")
            reporter.update(done)


def drawn(
    network: SegmentationNetwork,
    image: Pixels,
    block: str,
    found: Attention,
    point: tuple[float, float],
) -> Pixels:
    """Where a block looks: the anchors of each pool size, then each position's weight."""
    whole = positions(image, found, point)
    sampler = attention_blocks(network)[block].sampler
    if sampler is None or sampler.sampling == "random":
        return whole
    return side_by_side([*anchor_grids(image, found, sampler.pool_sizes, point), whole])


@contextmanager
def _written(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"--out {out}: cannot be written ({error.strerror or error}); give another folder"
        ) from None


def profile_of(settings: params.Params, checkpoint: Path, given: str | None) -> str:
    """The profile that is given, or whose folder the checkpoint lies in, or the active one."""
    if given is not None and given not in settings.profiles:
        raise InputError(f"--profile is {given!r}; allowed are {', '.join(settings.profiles)}")
    folder = checkpoint.resolve().parent.name
    return given or (folder if folder in settings.profiles else settings.profile)


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.predict",
        description="Label the pixels of images with a trained network.",
        epilog="Writes OUT/labels/NAME.png (class ids, 0 to the number of classes less one; their "
        "names are in OUT/classes.json) and OUT/overlays/NAME.png (to look at). An example: "
        "python -m pipeline.predict weights/embedded/ann-0.safetensors photo.jpg --out predicted",
    )
    add = parser.add_argument
    add("checkpoint", type=Path, help="weights/<profile>/<name>.safetensors, trained or imported")
    add("inputs", type=Path, nargs="+", metavar="input", help="an image, or a folder of images")
    add("--out", type=Path, required=True, help="the folder to write to; made if it is not there")
    add(
        "--protocol",
        help="whole: the image at once, the fastest; sliding: window by window, for large images "
        "and little memory; multi_scale: in several sizes, the best and the slowest. "
        "Allowed are those under `evaluate` of the profile; without this, the first of them",
    )
    add("--profile", help="of params.yaml; without this, that of the checkpoint's folder")
    add(
        "--attention",
        action="store_true",
        help="also OUT/attention/NAME-BLOCK.png: what a point attends to in each non-local block, "
        "the anchors of each pool size first",
    )
    add(
        "--point",
        type=float,
        nargs=2,
        metavar=("DOWN", "RIGHT"),
        default=CENTRE,
        help="of --attention, in parts of the height and of the width, 0 to 1 (default: the "
        "image's centre)",
    )
    return parser.parse_args(words)


def main() -> None:
    given = parse()
    settings = params.load()
    profile = profile_of(settings, given.checkpoint, given.profile)
    evaluate = settings.profiles[profile].evaluate
    dataset = DATASETS[settings.profiles[profile].dataset]
    protocol = given.protocol or evaluate.protocols[0]
    if protocol not in evaluate.protocols:
        raise InputError(
            f"--protocol is {protocol!r}; allowed are those that profiles.{profile}.evaluate in "
            f"params.yaml lists: {', '.join(evaluate.protocols)}"
        )
    if not all(0 <= part < 1 for part in given.point):
        raise InputError(f"--point is {given.point}; allowed are two numbers from 0 to below 1")
    work = jobs(given.inputs, given.out)
    sizes = [header(file).size[::-1] for file, _ in work]
    shown: list[Protocol] = [protocol, "whole"] if given.attention else [protocol]
    classes = list(dataset.classes)
    alone = evaluate.model_copy(update={"protocols": shown})
    network = load(given.checkpoint, dataset.name, classes, sizes, alone)
    if given.attention and not attention_blocks(network):
        raise InputError(f"{given.checkpoint}: it has no non-local block, and so no --attention")
    with _written(given.out), whole_file(given.out / "classes.json") as partial:
        partial.write_text(json.dumps(dict(enumerate(classes)), indent=1) + "\n", encoding="utf-8")
    predict(
        network,
        work,
        given.out,
        colours=palette(len(classes), dataset.colours),
        protocol=protocol,
        settings=alone,
        point=tuple(given.point) if given.attention else None,
    )
    print(f"{given.out}: {len(work)} images predicted by {given.checkpoint.stem} ({protocol})")


if __name__ == "__main__":
    cli.run(main)
