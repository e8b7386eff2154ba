"""Predict images of your own with a trained network; no stage.

    python -m pipeline.predict CHECKPOINT INPUT... --out FOLDER

CHECKPOINT is weights/<profile>/<name>.safetensors, trained here or imported. It writes, for each
image, labels/<name>.png of class ids and overlays/<name>.png of the classes' colours over it, and
with --attention a picture of each non-local block in attention/. One image at a time is in memory.
An image that cannot be predicted does not stop the others. It is named at the end, and the exit
status is 1.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from PIL import Image

from ann import Attention, SegmentationNetwork, attention_blocks, network_attention
from pipeline.common import cli, params
from pipeline.common.cli import InputError
from pipeline.common.failures import memory_told
from pipeline.common.files import whole_file
from pipeline.common.params import Evaluate, Protocol
from pipeline.common.progress import Reporter
from pipeline.datasets import DATASETS
from pipeline.datasets.base import Pixels
from pipeline.datasets.files import frames, header, read_upright, several
from pipeline.drawing.attention import anchor_grids, positions, side_by_side
from pipeline.drawing.colours import overlay, palette
from pipeline.predicting.images import Job, find
from pipeline.scoring.predict import as_batch, as_shown, load
from pipeline.scoring.predict import predict as class_ids

CENTRE = (0.5, 0.5)
Size = tuple[int, int]  # height, width


def predict(
    network: SegmentationNetwork,
    work: Sequence[Job],
    out: Path,
    *,
    colours: Pixels,
    protocol: Protocol,
    settings: Evaluate,
    point: tuple[float, float] | None = None,
) -> list[str]:
    """Write labels/ and overlays/ below `out`, and attention/ of a point if one is given.

    network: as `pipeline.scoring.predict.load` returns it. colours: (256, 3) by class id. point:
    from the top and from the left, in parts of the height and of the width. Returns a sentence for
    each image that could not be predicted; the others are written.
    """
    problems = []
    with Reporter("predict", len(work)) as reporter:
        for done, (file, name) in enumerate(work, 1):
            try:
                with _memory_named(file):
                    pictures = _pictures(network, file, colours, protocol, settings, point)
            except InputError as error:
                problems.append(str(error))
                pictures = {}
            for folder, pixels in pictures.items():
                kind, _, block = folder.partition("/")
                suffix = f"-{block}.png" if block else ".png"
                with _written(out), whole_file(out / kind / f"{name}{suffix}") as partial:
                    Image.fromarray(pixels).save(partial, "PNG")
            reporter.update(done)
    return problems


def _pictures(
    network: SegmentationNetwork,
    file: Path,
    colours: Pixels,
    protocol: Protocol,
    settings: Evaluate,
    point: tuple[float, float] | None,
) -> dict[str, Pixels]:
    """Return what is drawn of an image, by the folder that it is written to."""
    image = read_upright(file)
    batch = as_batch([image])
    ids = class_ids(network, batch, protocol, settings)[0]
    pictures = {"labels": ids, "overlays": overlay(image, ids, colours)}
    if point:
        shown = as_shown(batch, settings)
        for block, found in network_attention(network, shown, point).items():
            pictures[f"attention/{block}"] = drawn(network, image, block, found, point)
    return pictures


def _memory_named(file: Path) -> AbstractContextManager[None]:
    return memory_told(lambda: (f"{file}: too large for the memory; try --protocol sliding", None))


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
    work, left_out = find(given.inputs, given.out)
    total = len(work)
    shown: list[Protocol] = [protocol, "whole"] if given.attention else [protocol]
    classes = list(dataset.classes)
    alone = evaluate.model_copy(update={"protocols": shown})

    def load_for(sizes: list[Size]) -> SegmentationNetwork:
        return load(given.checkpoint, dataset.name, classes, sizes, alone)

    network, work, problems = load_fitting(work, load_for)
    if given.attention and not attention_blocks(network):
        raise InputError(f"{given.checkpoint}: it has no non-local block, and so no --attention")
    with _written(given.out), whole_file(given.out / "classes.json") as partial:
        partial.write_text(json.dumps(dict(enumerate(classes)), indent=1) + "\n", encoding="utf-8")
    problems += predict(
        network,
        work,
        given.out,
        colours=palette(len(classes), dataset.colours),
        protocol=protocol,
        settings=alone,
        point=tuple(given.point) if given.attention else None,
    )
    predicted = total - len(problems)
    print(f"{given.out}: {predicted} images predicted by {given.checkpoint.stem} ({protocol})")
    name_files("files left out", left_out)
    animated = [f"{file}: {count} frames" for file, _ in work if (count := frames(file)) > 1]
    name_files("files of which only the first frame is predicted", animated)
    if problems:
        raise _failure(problems, total)


def name_files(what: str, lines: Sequence[str]) -> None:
    """Print up to ten lines to stderr, with how many there are."""
    if lines:
        print(several(lines, what), file=sys.stderr)


def _failure(problems: Sequence[str], total: int) -> InputError:
    """Return one error for all images that could not be predicted."""
    if len(problems) == 1:
        return InputError(problems[0])
    return several(problems, f"of {total} images could not be predicted")


def load_fitting(
    work: Sequence[Job], load_for: Callable[[list[Size]], SegmentationNetwork]
) -> tuple[SegmentationNetwork, list[Job], list[str]]:
    """Return the network, the images that it can predict, and why it cannot predict the others.

    load_for(sizes) returns the network, or raises InputError if it does not take images of these
    heights and widths.
    """
    sizes: dict[Job, Size] = {}
    problems = []
    for job in work:
        try:
            sizes[job] = header(job.file).size[::-1]
        except InputError as error:
            problems.append(str(error))
    if not sizes:
        raise _failure(problems, len(work))
    distinct = sorted(set(sizes.values()))
    try:
        return load_for(distinct), list(sizes), problems
    except InputError as error:
        refused = error
    reasons: dict[Size, str] = {}
    for size in distinct:  # one small image must not end the others
        try:
            network = load_for([size])
        except InputError as error:
            reasons[size] = str(error)
    if len(reasons) == len(distinct):
        raise refused
    problems += [f"{job.file}: {reasons[size]}" for job, size in sizes.items() if size in reasons]
    return network, [job for job, size in sizes.items() if size not in reasons], problems


if __name__ == "__main__":
    cli.run(main)
