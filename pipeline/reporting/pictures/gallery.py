"""The sections of a profile's pictures, with their texts."""

from collections.abc import Iterator
from typing import Any

from pipeline.engine.files import read_json
from pipeline.reporting.pictures.colours import OUTCOMES
from pipeline.reporting.results import Results
from pipeline.reporting.sections import Figure, Section, Strip
from pipeline.settings.paths import PICTURE_LIST, ReportPaths
from pipeline.settings.schema import Params

HOW = "`dvc repro -s pictures report` draws them."
RULE = (
    "These are the best, the median and the worst image of the validation split. The rule is the "
    "full network's mIoU of each image with seed {seed}: the mean over the classes in the labels "
    "or the prediction. None is chosen by hand. Both networks are scored by the first protocol."
)
ATTENTION = (
    "What one point of the median image attends to, in networks with a single block. A ring marks "
    "the point. It lies deepest inside the largest region that only the full network has right. "
    "The brighter the amber, the larger the weight, relative to the picture's largest. *Anchors*: "
    "each fills the bin that it averages, in a picture for each pool size. *Positions*: the weight "
    "of each position of the map; the positions of a bin share their anchor's weight evenly."
)
SHEET = "Augmented training samples as the networks see them, beside the same with their labels."
PARTS = {
    "image": ("image", "the image"),
    "truth": ("ground truth", "its labels"),
    "baseline": ("baseline", "the baseline's prediction"),
    "ann": ("full network", "the full network's prediction"),
    "difference": ("where they differ", "where the two predictions are right and wrong"),
}
MEANINGS = {
    "both": "both right",
    "second": "only the full network right",
    "first": "only the baseline right",
    "neither": "neither right",
}
BLOCKS = {"nb": "NB", "apnb": "APNB", "afnb": "AFNB"}


def build_sections(settings: Params, results: Results) -> Iterator[Section]:
    """Yield a section for each kind of picture; what is missing gets a sentence."""
    folder = ReportPaths(settings.profile).pictures
    file = folder / PICTURE_LIST
    if not file.exists():
        yield Section("pictures", "Pictures", notes=f"There are none yet: {HOW}")
        return
    about = read_json(file)
    if not are_current(about, settings, results):
        words = f"The pictures in {folder} are of other networks than the tables: {HOW}"
        yield Section("pictures", "Pictures", notes=words)
        return
    missing = "\n".join(f"- Left out: {sentence}." for sentence in about["missing"])
    rule = RULE.format(seed=about["seed"])
    strips = tuple(_build_row(folder.name, row) for row in about["rows"])
    intro, notes = (rule, missing) if strips else ("", missing)
    yield Section("pictures", "Pictures", intro=intro, notes=notes, strips=strips)
    if about.get("attention"):
        row = about["rows"][1]
        strips = tuple(_build_attention(folder.name, row, entry) for entry in about["attention"])
        yield Section("attention", "What a point attends to", intro=ATTENTION, strips=strips)
    if sheet := about.get("contact_sheet"):
        alternative = "Twelve training samples, each beside itself with its labels' colours over it"
        figure = Figure(f"{folder.name}/{sheet}", alternative, SHEET)
        yield Section("contact_sheet", "The data", figures=(figure,))


def select_pictures(settings: Params, results: Results, variant: str) -> Iterator[Section]:
    """Yield the pictures that show a variant, for a page one folder below the profile's."""
    file = ReportPaths(settings.profile).pictures / PICTURE_LIST
    if not file.exists() or not are_current(about := read_json(file), settings, results):
        return
    key = {"baseline": "baseline", "ann": "ann"}.get(variant)
    folder = f"../{file.parent.name}"
    strips = [_build_row(folder, row) for row in about["rows"]] if key else []
    strips += [
        _build_attention(folder, about["rows"][1], entry)
        for entry in about.get("attention", [])
        if entry["variant"] == variant
    ]
    if strips:
        yield Section("pictures", "Pictures", strips=tuple(strips))


def are_current(about: dict[str, Any], settings: Params, results: Results) -> bool:
    """Whether the pictures are of this profile, and of the networks that the tables score."""
    scored = {
        name: run.record.weights_sha256
        for name, runs in results.items()
        for run in runs
        if run.seed == about["seed"]
    }
    own = (about["profile"], about["seed"]) == (settings.profile, settings.seeds[0])
    return own and all(scored.get(n) == d for n, d in about.get("weights", {}).items())


def _convert_colour(colour: Any) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _build_row(folder: str, row: dict[str, Any]) -> Strip:
    figures = tuple(
        Figure(f"{folder}/{row['files'][key]}", f"{row['name']}: {alternative}", caption)
        for key, (caption, alternative) in PARTS.items()
        if key in row["files"]
    )
    baseline, ann = (100 * row["miou"][name] for name in ("baseline", "ann"))
    caption = (
        f"The {row['which']} image, {row['name']}: mIoU {ann:.1f} of the full network, "
        f"{baseline:.1f} of the baseline"
    )
    classes = [(name, _convert_colour(colour)) for name, colour in row["classes"].items()]
    right = [(words, _convert_colour(OUTCOMES[key])) for key, words in MEANINGS.items()]
    return Strip(caption, figures, (*classes, *right))


def _build_attention(folder: str, row: dict[str, Any], entry: dict[str, Any]) -> Strip:
    """Return the positions' picture and one for each pool size."""
    name, files = entry["variant"], dict(entry["files"])
    keys = f"S = {entry['keys']} anchors" if len(files) > 1 else f"N = {entry['keys']} positions"
    whole = f"{folder}/{files.pop('positions')}"
    figures = [Figure(whole, f"{name}: the weight of each position", "positions")]
    for n, file in files.items():
        alternative = f"{name}: the weight of each anchor of pool size {n}"
        figures.append(Figure(f"{folder}/{file}", alternative, f"anchors, {n}x{n}"))
    return Strip(f"{BLOCKS.get(name, name)} in {row['name']}, {keys}", tuple(figures))
