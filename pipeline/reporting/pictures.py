"""The pictures that the pictures stage left, with their words."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.common.files import read_json
from pipeline.common.params import Params
from pipeline.common.paths import PICTURES
from pipeline.drawing.colours import RIGHT
from pipeline.reporting.results import Results
from pipeline.reporting.sections import Figure, Section, Strip

HOW = "`dvc repro -s pictures report` draws them."
RULE = (
    "The best, the median and the worst image of the validation split by the full network's mIoU "
    "of each image (the mean over the classes that its labels or the prediction have), with seed "
    "{seed}: chosen by this rule, not by hand. Both networks are scored by the first protocol."
)
ATTENTION = (
    "What one point of the median image attends to, in the networks with this one block. The "
    "point, in the ring, lies deepest inside the largest region that only the full network has "
    "right. Amber is the weight, in parts of the picture's largest. *Anchors*: each is drawn as "
    "the bin that it averages, a picture a pool size. *Positions*: the weight of each position of "
    "the map; what an anchor gets is shared evenly by its bin."
)
SHEET = "Training samples as the networks get them, augmented, with their labels over them."
WHAT = {
    "image": ("image", "the image"),
    "truth": ("ground truth", "its labels"),
    "baseline": ("baseline", "the baseline's prediction"),
    "ann": ("full network", "the full network's prediction"),
    "difference": ("where they differ", "where the two predictions are right and wrong"),
}
KEY = {
    "both": "both right",
    "second": "only the full network right",
    "first": "only the baseline right",
    "neither": "neither right",
}
BLOCKS = {"nb": "NB", "apnb": "APNB", "afnb": "AFNB"}


def sections(settings: Params, results: Results, folder: Path = PICTURES) -> Iterator[Section]:
    """What there is, and for what there is not a sentence each."""
    file = folder / "pictures.json"
    if not file.exists():
        yield Section("pictures", "Pictures", notes=f"There are none yet: {HOW}")
        return
    about = read_json(file)
    if not current(about, settings, results):
        words = f"Those in {folder} are of other networks than the tables: {HOW}"
        yield Section("pictures", "Pictures", notes=words)
        return
    missing = "\n".join(f"- Left out: {sentence}." for sentence in about["missing"])
    rule = RULE.format(seed=about["seed"])
    strips = tuple(_row(folder.name, row) for row in about["rows"])
    intro, notes = (rule, missing) if strips else ("", missing)
    yield Section("pictures", "Pictures", intro=intro, notes=notes, strips=strips)
    if about.get("attention"):
        row = about["rows"][1]
        strips = tuple(_attention(folder.name, row, found) for found in about["attention"])
        yield Section("attention", "What a point attends to", intro=ATTENTION, strips=strips)
    if sheet := about.get("contact_sheet"):
        alternative = "Twelve training samples, each beside itself with its labels' colours over it"
        figure = Figure(f"{folder.name}/{sheet}", alternative, SHEET)
        yield Section("contact_sheet", "The data", figures=(figure,))


def current(about: dict[str, Any], settings: Params, results: Results) -> bool:
    """Whether the pictures are of this profile, and of the very networks that the tables score."""
    scored = {
        name: run.record.get("weights_sha256")
        for name, runs in results.items()
        for run in runs
        if run.seed == about["seed"]
    }
    own = (about["profile"], about["seed"]) == (settings.profile, settings.seeds[0])
    return own and all(scored.get(n) == d for n, d in about.get("weights", {}).items())


def _css(colour: Any) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _row(folder: str, row: dict[str, Any]) -> Strip:
    figures = tuple(
        Figure(f"{folder}/{row['files'][key]}", f"{row['name']}: {alternative}", caption)
        for key, (caption, alternative) in WHAT.items()
    )
    baseline, ann = (100 * row["miou"][name] for name in ("baseline", "ann"))
    caption = (
        f"The {row['which']} image, {row['name']}: mIoU {ann:.1f} of the full network, "
        f"{baseline:.1f} of the baseline"
    )
    classes = [(name, _css(colour)) for name, colour in row["classes"].items()]
    right = [(words, _css(RIGHT[key])) for key, words in KEY.items()]
    return Strip(caption, figures, (*classes, *right))


def _attention(folder: str, row: dict[str, Any], found: dict[str, Any]) -> Strip:
    """The positions' picture and one for each pool size."""
    name, files = found["variant"], dict(found["files"])
    keys = f"S = {found['keys']} anchors" if len(files) > 1 else f"N = {found['keys']} positions"
    whole = f"{folder}/{files.pop('positions')}"
    figures = [Figure(whole, f"{name}: the weight of each position", "positions")]
    for n, file in files.items():
        alternative = f"{name}: the weight of each anchor of pool size {n}"
        figures.append(Figure(f"{folder}/{file}", alternative, f"anchors, {n}x{n}"))
    return Strip(f"{BLOCKS.get(name, name)} in {row['name']}, {keys}", tuple(figures))
