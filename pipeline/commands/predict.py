"""Predict your own images with a trained network.

    python -m pipeline predict CHECKPOINT INPUT... --out FOLDER

CHECKPOINT is weights/<profile>/<name>.safetensors, trained here or imported. For each image, the
command writes the class ids to labels/<name>.png, and the classes' colours over the image to
overlays/<name>.png. With --attention, it also writes a picture of each non-local block to
attention/. Only one image at a time is in memory. An image that cannot be predicted does not stop
the others. The command names it at the end, and the exit status is 1.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from PIL import Image

from ann import Attention, SegmentationNetwork, attention_blocks, network_attention
from pipeline.data.formats import DATASETS
from pipeline.data.formats.base import Pixels
from pipeline.data.formats.files import count_frames, join_problems, read_header, read_upright
from pipeline.data.images import Job, find_images
from pipeline.engine.errors import InputError
from pipeline.engine.failures import convert_memory_errors
from pipeline.engine.files import whole_file
from pipeline.engine.progress import Reporter
from pipeline.reporting.pictures.attention import draw_anchors, draw_positions, join_pictures
from pipeline.reporting.pictures.colours import make_palette, overlay_labels
from pipeline.scoring.predict import load_network, resize_for_whole, stack_images
from pipeline.scoring.predict import predict as class_ids
from pipeline.settings import params, schema
from pipeline.settings.fields import Protocol
from pipeline.settings.schema import Evaluate

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
    """Write labels/ and overlays/ below `out`, and attention/ if there is a point.

    Args:
        network: A network from `pipeline.scoring.predict.load`.
        work: The images, and their names below `out`.
        out: The folder to write to.
        colours: The colour of each class id, (256, 3).
        protocol: The protocol that predicts.
        settings: The settings of the protocols.
        point: The position whose attention is drawn, from the top and from the left, as fractions
            of the height and of the width.

    Returns:
        A sentence for each image that could not be predicted; all others are written.
    """
    problems = []
    with Reporter("predict", len(work)) as reporter:
        for done, (file, name) in enumerate(work, 1):
            try:
                with _name_memory_errors(file):
                    pictures = _draw_pictures(network, file, colours, protocol, settings, point)
            except InputError as error:
                problems.append(str(error))
                pictures = {}
            for folder, pixels in pictures.items():
                kind, _, block = folder.partition("/")
                suffix = f"-{block}.png" if block else ".png"
                with _name_write_errors(out), whole_file(out / kind / f"{name}{suffix}") as partial:
                    Image.fromarray(pixels).save(partial, "PNG")
            reporter.update(done)
    return problems


def _draw_pictures(
    network: SegmentationNetwork,
    file: Path,
    colours: Pixels,
    protocol: Protocol,
    settings: Evaluate,
    point: tuple[float, float] | None,
) -> dict[str, Pixels]:
    """Return the pictures of an image by their folders."""
    image = read_upright(file)
    batch = stack_images([image])
    ids = class_ids(network, batch, protocol, settings)[0]
    pictures = {"labels": ids, "overlays": overlay_labels(image, ids, colours)}
    if point:
        resized = resize_for_whole(batch, settings)
        for block, attention in network_attention(network, resized, point).items():
            pictures[f"attention/{block}"] = draw_attention(network, image, block, attention, point)
    return pictures


def _name_memory_errors(file: Path) -> AbstractContextManager[None]:
    return convert_memory_errors(
        lambda: (f"{file}: too large for the memory; try --protocol sliding", None)
    )


def draw_attention(
    network: SegmentationNetwork,
    image: Pixels,
    block: str,
    attention: Attention,
    point: tuple[float, float],
) -> Pixels:
    """Draw what a block attends to: the anchors of each pool size, then each position's weight."""
    whole = draw_positions(image, attention, point)
    sampler = attention_blocks(network)[block].sampler
    if sampler is None or sampler.sampling == "random":
        return whole
    return join_pictures([*draw_anchors(image, attention, sampler.pool_sizes, point), whole])


@contextmanager
def _name_write_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"--out {out}: cannot be written ({error.strerror or error}); give another folder"
        ) from None


def choose_profile(settings: schema.Params, checkpoint: Path, name: str | None) -> str:
    """Return the profile of this name, or of the checkpoint's folder, or the active one."""
    if name is not None and name not in settings.profiles:
        raise InputError(f"--profile must be one of {', '.join(settings.profiles)}, got {name!r}")
    folder = checkpoint.resolve().parent.name
    return name or (folder if folder in settings.profiles else settings.profile)


def main(
    checkpoint: Path,
    inputs: Sequence[Path],
    out: Path,
    *,
    protocol: str | None = None,
    profile: str | None = None,
    attention: bool = False,
    point: tuple[float, float] = CENTRE,
) -> None:
    settings = params.load()
    profile = choose_profile(settings, checkpoint, profile)
    evaluate = settings.profiles[profile].evaluate
    dataset = DATASETS[settings.profiles[profile].dataset]
    chosen = next((p for p in evaluate.protocols if protocol in (None, p)), None)
    if chosen is None:
        raise InputError(
            f"--protocol must be one of profiles.{profile}.evaluate in params.yaml, "
            f"{', '.join(evaluate.protocols)}, got {protocol!r}"
        )
    if not all(0 <= part < 1 for part in point):
        raise InputError(f"--point must be two numbers from 0 to below 1, got {list(point)}")
    work, left_out = find_images(list(inputs), out)
    total = len(work)
    protocols: list[Protocol] = [chosen, "whole"] if attention else [chosen]
    classes = list(dataset.classes)
    own = evaluate.model_copy(update={"protocols": protocols})

    def load_for(sizes: list[Size]) -> SegmentationNetwork:
        return load_network(checkpoint, dataset.name, classes, sizes, own)

    network, work, problems = load_fitting(work, load_for)
    if attention and not attention_blocks(network):
        raise InputError(f"{checkpoint}: it has no non-local block, and so no --attention")
    with _name_write_errors(out), whole_file(out / "classes.json") as partial:
        partial.write_text(json.dumps(dict(enumerate(classes)), indent=1) + "\n", encoding="utf-8")
    problems += predict(
        network,
        work,
        out,
        colours=make_palette(len(classes), dataset.colours),
        protocol=chosen,
        settings=own,
        point=point if attention else None,
    )
    predicted = total - len(problems)
    print(f"{out}: {predicted} images predicted by {checkpoint.stem} ({chosen})")
    print_files("files left out", left_out)
    animated = [f"{file}: {count} frames" for file, _ in work if (count := count_frames(file)) > 1]
    print_files("files of which only the first frame is predicted", animated)
    if problems:
        raise _join_problems(problems, total)


def print_files(title: str, lines: Sequence[str]) -> None:
    """Print up to ten lines and their number to stderr."""
    if lines:
        print(join_problems(lines, title), file=sys.stderr)


def _join_problems(problems: Sequence[str], total: int) -> InputError:
    """Return one error for all images that could not be predicted."""
    if len(problems) == 1:
        return InputError(problems[0])
    return join_problems(problems, f"of {total} images could not be predicted")


def load_fitting(
    work: Sequence[Job], load_for: Callable[[list[Size]], SegmentationNetwork]
) -> tuple[SegmentationNetwork, list[Job], list[str]]:
    """Load the network and find the images that it can predict.

    Args:
        work: The images.
        load_for: Returns the network, or raises an InputError if it cannot take images of these
            heights and widths.

    Returns:
        The network, the images that it can predict, and a sentence for each other image.

    Raises:
        InputError: It can predict none of them.
    """
    sizes: dict[Job, Size] = {}
    problems = []
    for job in work:
        try:
            sizes[job] = read_header(job.file).size[::-1]
        except InputError as error:
            problems.append(str(error))
    if not sizes:
        raise _join_problems(problems, len(work))
    distinct = sorted(set(sizes.values()))
    try:
        return load_for(distinct), list(sizes), problems
    except InputError as error:
        refusal = error
    reasons: dict[Size, str] = {}
    for size in distinct:  # one small image must not stop the others
        try:
            network = load_for([size])
        except InputError as error:
            reasons[size] = str(error)
    if len(reasons) == len(distinct):
        raise refusal
    problems += [f"{job.file}: {reasons[size]}" for job, size in sizes.items() if size in reasons]
    return network, [job for job, size in sizes.items() if size not in reasons], problems
