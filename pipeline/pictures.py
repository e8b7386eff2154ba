"""Stage pictures: what the networks see, for the report.

    python -m pipeline.pictures

Writes reports/pictures, which git keeps, so that a clone without weights shows them: the best, the
median and the worst validation image with its labels, the baseline's and the full network's
predictions and where they differ; what a point attends to in NB, APNB and AFNB; a small contact
sheet; and pictures.json, which says what is what. What is not trained is left out and named there.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from ann import SegmentationNetwork, attention_blocks, network_attention, scores
from pipeline.common import cli, params
from pipeline.common.cli import InputError
from pipeline.common.files import file_digest, read_json, whole_folder, write_json
from pipeline.common.paths import PICTURES, RunPaths
from pipeline.common.progress import Reporter
from pipeline.contact_sheet import SHEETS
from pipeline.datasets import BACKGROUND, DATASETS
from pipeline.datasets.base import Pixels, Sample
from pipeline.drawing.attention import anchor_grids, positions
from pipeline.drawing.colours import differences, palette
from pipeline.inputs.store import Store
from pipeline.prepare import MANIFEST, folder
from pipeline.reporting.measured import AFNB, ANN, APNB, BASELINE, NB, as_published
from pipeline.scoring.predict import as_batch, as_shown, batches_of_one_size, load, predict
from pipeline.scoring.results import count

WIDTH, SHEET_WIDTH = 512, 900  # pixels; what is wider is made smaller
CENTRE = (0.5, 0.5)


class Gallery(NamedTuple):
    """Where the pictures come from and go to; weights: the digests of the networks in use."""

    settings: params.Params
    store: Store
    manifest: dict[str, Any]
    out: Path
    weights: dict[str, str]

    def network(self, variant: str) -> SegmentationNetwork:
        """The variant with the first seed."""
        paths = RunPaths(self.settings.profile, variant, self.settings.seeds[0])
        if not paths.weights.exists():
            how = f"`dvc repro evaluate@{paths.name}`, then `dvc repro -s pictures report`"
            raise InputError(f"{paths.name} is not trained: {how}")
        self.weights[variant] = file_digest(paths.weights)
        classes, evaluate = self.manifest["classes"], self.settings.active.evaluate
        return load(paths.weights, self.manifest["dataset"], classes, self.store.sizes, evaluate)

    def predict(self, network: SegmentationNetwork, images: list[Pixels]) -> Pixels:
        """By the first protocol, the tables'."""
        evaluate = self.settings.active.evaluate
        return predict(network, as_batch(images), evaluate.protocols[0], evaluate)

    def miou(self, label: Pixels, ids: Pixels) -> float:
        """Of one image: the mean over the classes that its labels or the prediction have."""
        classes = len(self.manifest["classes"])
        counts = count(label[None], ids[None], classes, self.manifest["background"])
        return float(scores(counts[:classes, :classes]).miou)


def save(out: Path, name: str, pixels: Pixels, lossless: bool = True, width: int = WIDTH) -> str:
    """Write a picture, of flat colours if lossless; returns its file's name."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if picture.width > width:
        how = Image.Resampling.NEAREST if lossless else Image.Resampling.LANCZOS
        picture = picture.resize((width, round(picture.height * width / picture.width)), how)
    file = f"{name}.webp"
    picture.save(out / file, "WEBP", lossless=lossless, quality=80, method=4)
    return file


def ranked(source: Gallery, network: SegmentationNetwork) -> list[tuple[float, str, int]]:
    """The validation images from the worst to the best, by the network's mIoU of each and name."""
    made, store = [], source.store
    with Reporter("pictures", len(store)) as reporter:
        for group in batches_of_one_size(store, source.settings.active.evaluate.batch_size):
            samples = [store[i] for i in group]
            found = source.predict(network, [np.asarray(s.image) for s in samples])
            for i, sample, ids in zip(group, samples, found, strict=True):
                miou = source.miou(sample.label, ids)
                if not np.isnan(miou):  # an image without a labelled pixel
                    made.append((miou, store.names[i], i))
            reporter.update(len(made))
    return sorted(made)


def decided(sample: Sample, baseline: Pixels, ann: Pixels) -> tuple[float, float]:
    """A point deep inside the largest region that only the full network has right.

    In parts of the height and of the width; the centre where there is none.
    """
    regions, number = ndimage.label((ann == sample.label) & (baseline != sample.label))
    if not number:
        return CENTRE
    largest = 1 + int(np.bincount(regions.ravel())[1:].argmax())
    inside = np.pad(regions == largest, 1)
    depth = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return (int(row) + 0.5) / depth.shape[0], (int(column) + 0.5) / depth.shape[1]


def predictions(source: Gallery, baseline: str, ann: str) -> Iterator[dict[str, Any]]:
    """The best, the median and the worst image by the full network's mIoU, a dict each."""
    one, other = source.network(baseline), source.network(ann)
    order = ranked(source, other)
    if not order:
        raise InputError("no image of the validation split has a labelled pixel")
    dataset = DATASETS[source.manifest["dataset"]]
    table = palette(len(dataset.classes), dataset.colours)
    for which, place in (("best", -1), ("median", (len(order) - 1) // 2), ("worst", 0)):
        miou, name, i = order[place]
        sample = Sample(np.asarray(source.store[i].image), source.store[i].label)
        ids, other_ids = (source.predict(n, [sample.image])[0] for n in (one, other))
        maps = {"truth": sample.label, "baseline": ids, "ann": other_ids}
        pictures = {what: table[values] for what, values in maps.items()}
        pictures["difference"] = differences(sample.label, ids, other_ids)
        files = {what: save(source.out, f"{which}-{what}", p) for what, p in pictures.items()}
        present = np.unique(sample.label[sample.label < BACKGROUND]).tolist()
        yield {
            "which": which,
            "name": name,
            "index": i,
            "miou": {"baseline": source.miou(sample.label, ids), "ann": miou},
            "files": {"image": save(source.out, f"{which}-image", sample.image, False)} | files,
            "classes": {dataset.classes[c]: table[c].tolist() for c in present},
            "point": decided(sample, ids, other_ids),
        }


def attention(source: Gallery, variant: str, image: Pixels, point: Any) -> dict[str, Any]:
    """What the point attends to in the variant's one block: by position, and by anchor."""
    network = source.network(variant)
    shown = as_shown(as_batch([image]), source.settings.active.evaluate)
    ((block, found),) = network_attention(network, shown, point).items()
    stem, files = f"attention-{variant}", {}
    files["positions"] = save(source.out, stem, positions(image, found, point), False)
    sampler = attention_blocks(network)[block].sampler
    if sampler is not None and sampler.sampling != "random":
        grids = anchor_grids(image, found, sampler.pool_sizes, point)
        for n, grid in zip(sampler.pool_sizes, grids, strict=True):
            files[str(n)] = save(source.out, f"{stem}-{n}", grid, False)
    return {"variant": variant, "files": files, "keys": found.weights.shape[2]}


def draw(source: Gallery) -> dict[str, Any]:
    """All pictures of the networks, and what is missing of them."""
    settings = source.settings
    made: dict[str, Any] = {"rows": [], "attention": [], "missing": [], "weights": source.weights}
    firsts = {pair: as_published(settings, pair)[:1] for pair in (BASELINE, ANN, NB, APNB, AFNB)}
    try:
        for name, pair in (("baseline", BASELINE), ("full network", ANN)):
            if not firsts[pair]:
                raise InputError(f"params.yaml has no {name} among its variants")
        made["rows"] = list(predictions(source, *firsts[BASELINE], *firsts[ANN]))
    except InputError as error:
        made["missing"].append(str(error))
        return made
    median = made["rows"][1]
    image = np.asarray(source.store[median["index"]].image)
    for variant in (v for pair in (NB, APNB, AFNB) for v in firsts[pair]):
        try:
            made["attention"].append(attention(source, variant, image, median["point"]))
        except InputError as error:
            made["missing"].append(str(error))
    return made


def gallery(settings: params.Params, out: Path = PICTURES) -> Gallery:
    """Of the active profile's validation split."""
    data = folder(settings.profile)
    return Gallery(settings, Store(data, "val"), read_json(data / MANIFEST), out, {})


def main() -> None:
    settings = params.load()
    sheet = SHEETS / f"{settings.profile}.png"
    about: dict[str, Any] = {"profile": settings.profile, "seed": settings.seeds[0]}
    with whole_folder(PICTURES) as out:
        if (folder(settings.profile) / MANIFEST).exists():
            about |= draw(gallery(settings, out))
        else:
            how = "`dvc repro prepare`, then `dvc repro -s pictures report`"
            about |= {"rows": [], "missing": [f"the data are not prepared: {how}"]}
        if sheet.exists():
            pixels = np.asarray(Image.open(sheet).convert("RGB"))
            about["contact_sheet"] = save(out, "contact-sheet", pixels, False, SHEET_WIDTH)
        else:
            how = "`dvc repro contact_sheet`, then `dvc repro -s pictures report`"
            about["missing"].append(f"there is no contact sheet: {how}")
        write_json(out / "pictures.json", about)
    for sentence in about["missing"]:
        print(f"left out: {sentence}")
    print(f"the pictures are in {PICTURES}")


if __name__ == "__main__":
    cli.run(main)
