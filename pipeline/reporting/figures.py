"""Which figures stand in which section, and what is said of each: the one place of their words."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.collect import CURVES, RESULTS
from pipeline.common.files import file_digest, read_json
from pipeline.common.paths import EFFICIENCY, FIGURES, NETWORKS, PUBLISHED
from pipeline.reporting.sections import Figure, Section

HOW = (
    "Not drawn yet, for nothing of it is measured: {}. `dvc repro -s collect figures "
    "pictures report` draws what there is."
)
STALE = "Not drawn from these results yet: `dvc repro -s figures report` does."
SOURCE = "drawn-from.json"
# section -> figure -> its alternative text and its caption
WORDS = {
    "ablation": {
        "order-ablation": (
            "Two panels with the same rows from the paper's lowest to its highest mIoU: the "
            "published figure of each row, and the measured mean with its interval.",
            "The ablation in the paper's order: published, and measured here with the 95 % "
            "interval and each seed. The scales differ.",
        ),
        "miou-against-cost": (
            "Scatter plot of measured mIoU against the GFLOPs of one image's forward pass, a "
            "point a variant, in colours for networks without a non-local block, with attention "
            "to every position, and with attention to anchors.",
            "What mIoU costs: GFLOPs of one image at the training's crop, blocks in the plain "
            "form; 95 % intervals.",
        ),
    },
    "sampling": {
        "order-sampling": (
            "Two panels with the sampling table's rows from the paper's lowest to its highest "
            "mIoU: the published figure of each, and the measured mean with its interval.",
            "The sampling table in the paper's order: published, and measured here.",
        ),
        "miou-against-anchors": (
            "mIoU against the number of anchors S, measured on the left and published on the "
            "right, a colour a sampling method.",
            "mIoU against the number of anchors S, by sampling method.",
        ),
    },
    "cityscapes_classes": {
        "iou-by-class": (
            "A line a class with the IoU of the baseline, of APNB and of the full network, each "
            "with its interval.",
            "IoU of each class: baseline, APNB and the full network. Of more than 40 classes, "
            "those on which the networks differ most.",
        ),
    },
    "efficiency": {
        "operation-times": (
            "Stacked bars of the time that each operation of NB and APNB takes, by input size.",
            "Where the time goes: the operations of the plain form.",
        ),
        "cost-against-positions": (
            "Time and peak memory of NB and APNB against the number of positions N on "
            "logarithmic axes, in the plain and the fast form, with the fitted exponents.",
            "Cost against the number of positions N; the exponent is that of the largest sizes.",
        ),
    },
    "curves": {
        "learning-curves": (
            "The training loss of each row of the ablation against the iteration, the baseline in "
            "grey behind it, with a band from the lowest to the highest seed.",
            "Training loss, mean over the seeds, smoothed; the band runs from the lowest to the "
            "highest seed, the grey curve is the baseline.",
        ),
    },
}
ASPECT = {  # what a figure is of, where it is missing
    "order-ablation": "the ablation's rows",
    "miou-against-cost": "the variants, or the networks' cost (`dvc repro networks`)",
    "order-sampling": "the sampling table's rows",
    "miou-against-anchors": "the sampling table's rows",
    "iou-by-class": "the baseline, APNB or the full network",
    "operation-times": "the blocks' cost (`dvc repro efficiency`)",
    "cost-against-positions": "the blocks' cost (`dvc repro efficiency`)",
    "learning-curves": "the training curves",
}


def inputs() -> dict[str, str]:
    """The digests of all that figures are drawn from."""
    files = [RESULTS, CURVES, NETWORKS, PUBLISHED, *sorted(EFFICIENCY.glob("*.json"))]
    return {str(file): file_digest(file) for file in files if file.exists()}


def current(folder: Path) -> bool:
    """Whether the figures are drawn from the very results that the tables show."""
    file = folder / SOURCE
    return file.exists() and read_json(file) == inputs()


def illustrated(section: Section, drawn: bool, folder: Path = FIGURES) -> Section:
    """The section with its figures, and a note for each that is missing; drawn: see `current`."""
    found, notes = list(section.figures), [section.notes]
    for name, (alternative, caption) in WORDS.get(section.name, {}).items():
        if not drawn:
            notes.append(f"*{caption}* {STALE}")
        elif (folder / f"{name}.svg").exists():
            found.append(Figure(f"{folder.name}/{name}.svg", alternative, caption, drawn=True))
        else:
            notes.append(f"*{caption}* {HOW.format(ASPECT[name])}")
    return replace(section, figures=tuple(found), notes="\n\n".join(filter(None, notes)))


def sections() -> Iterator[Section]:
    """The sections that are figures alone."""
    yield Section("curves", "Learning curves")
