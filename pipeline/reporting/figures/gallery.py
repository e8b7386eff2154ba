"""Which figures stand in which section, with their texts."""

from collections.abc import Iterator
from dataclasses import replace

from pipeline.engine.files import digest_file, read_json
from pipeline.reporting.sections import Figure, Section
from pipeline.settings.paths import EFFICIENCY, FIGURE_INPUTS, PUBLISHED, ReportPaths

MISSING = (
    "Not drawn, because {} are not measured. Once they are, `dvc repro -s collect figures "
    "pictures report` draws it."
)
STALE = "Not drawn from these results yet: run `dvc repro -s figures report`."
# section -> figure -> alternative text and caption
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
            "What mIoU costs: GFLOPs of one image at the training's crop, with the blocks in the "
            "plain form, and 95 % intervals. The line joins the rows that no cheaper row reaches. "
            "The CSV file names all.",
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
MODULES = {  # which file of this folder draws a figure
    "order-ablation": "accuracy",
    "miou-against-cost": "accuracy",
    "order-sampling": "accuracy",
    "miou-against-anchors": "accuracy",
    "iou-by-class": "accuracy",
    "operation-times": "costs",
    "cost-against-positions": "costs",
    "learning-curves": "curves",
}
SUBJECTS = {  # what must be measured for a figure
    "order-ablation": "the ablation's rows",
    "miou-against-cost": "the variants or the networks' costs (`dvc repro networks`)",
    "order-sampling": "the sampling table's rows",
    "miou-against-anchors": "the sampling table's rows",
    "iou-by-class": "the baseline, APNB and the full network",
    "operation-times": "the blocks' costs (`dvc repro efficiency`)",
    "cost-against-positions": "the blocks' costs (`dvc repro efficiency`)",
    "learning-curves": "the training curves",
}


def digest_inputs(paths: ReportPaths) -> dict[str, str]:
    """Return the digests of all files that a profile's figures are drawn from."""
    files = [
        paths.results,
        paths.curves,
        paths.networks,
        PUBLISHED,
        *sorted(EFFICIENCY.glob("*.json")),
    ]
    return {str(file): digest_file(file) for file in files if file.exists()}


def are_current(paths: ReportPaths) -> bool:
    """Whether the figures are drawn from the results that the tables show."""
    file = paths.figures / FIGURE_INPUTS
    return file.exists() and read_json(file) == digest_inputs(paths)


def add_figures(section: Section, current: bool, paths: ReportPaths) -> Section:
    """Return the section with its figures, and a note for each that is missing.

    Args:
        section: The section.
        current: Whether the figures are drawn from these results; see `are_current`.
        paths: The profile's files.
    """
    figures, notes, folder = list(section.figures), [section.notes], paths.figures
    for name, (alternative, caption) in WORDS.get(section.name, {}).items():
        if not current:
            notes.append(f"*{caption}* {STALE}")
        elif (folder / f"{name}.svg").exists():
            module = f"pipeline/reporting/figures/{MODULES[name]}.py"
            figures.append(Figure(f"{folder.name}/{name}.svg", alternative, caption, module))
        else:
            notes.append(f"*{caption}* {MISSING.format(SUBJECTS[name])}")
    return replace(section, figures=tuple(figures), notes="\n\n".join(filter(None, notes)))


def build_sections() -> Iterator[Section]:
    """Yield the sections that are figures alone."""
    yield Section("curves", "Learning curves")
