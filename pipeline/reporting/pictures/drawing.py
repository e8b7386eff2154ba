"""Draw what the networks predict and what a point attends to in them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from ann import SegmentationNetwork, attention_blocks, network_attention, scores
from pipeline.data.formats import BACKGROUND, DATASETS
from pipeline.data.formats.base import Pixels, Sample
from pipeline.data.prepared.store import Store
from pipeline.engine.errors import InputError
from pipeline.engine.files import digest_file
from pipeline.engine.progress import Reporter
from pipeline.reporting.measured import AFNB, ANN, APNB, BASELINE, NB, list_published_variants
from pipeline.reporting.pictures.attention import draw_anchors, draw_positions
from pipeline.reporting.pictures.colours import color_differences, make_palette
from pipeline.scoring.groups import group_by_size
from pipeline.scoring.predict import (
    load_network,
    predict,
    resize_for_whole,
    stack_images,
)
from pipeline.scoring.results import count
from pipeline.settings import records
from pipeline.settings.paths import (
    MANIFEST,
    RunPaths,
    locate_contact_sheet,
    locate_prepared,
)
from pipeline.settings.records import Manifest
from pipeline.settings.schema import Params

WIDTH, SHEET_WIDTH = 512, 900  # pixels; a wider picture is made smaller
CENTRE = (0.5, 0.5)
GREY = 128  # in place of an image that is not shown


class Source(NamedTuple):
    """What the pictures are drawn from, and where to.

    Attributes:
        settings: params.yaml.
        store: The prepared validation split.
        manifest: The prepared data's manifest.
        out: The folder of the pictures.
        weights: The digests of the networks in use, by variant; `load_network` adds to it.
    """

    settings: Params
    store: Store
    manifest: Manifest
    out: Path
    weights: dict[str, str]

    def load_network(self, variant: str) -> SegmentationNetwork:
        """Return the variant with the first seed."""
        paths = RunPaths(self.settings.profile, variant, self.settings.seeds[0])
        if not paths.weights.exists():
            how = f"`dvc repro evaluate@{paths.name}`, then `dvc repro -s pictures report`"
            raise InputError(f"{paths.name} is not trained: {how}")
        self.weights[variant] = digest_file(paths.weights)
        classes, evaluate = self.manifest.classes, self.settings.active.evaluate
        return load_network(
            paths.weights, self.manifest.dataset, classes, self.store.sizes, evaluate
        )

    def predict(self, network: SegmentationNetwork, images: list[Pixels]) -> Pixels:
        """Return the class ids by the first protocol, as in the tables."""
        evaluate = self.settings.active.evaluate
        return predict(network, stack_images(images), evaluate.protocols[0], evaluate)

    def score_image(self, label: Pixels, ids: Pixels) -> float:
        """Return the mean IoU over the classes in the image's labels or prediction."""
        classes = len(self.manifest.classes)
        counts = count(label[None], ids[None], classes, self.manifest.background)
        return float(scores(counts[:classes, :classes]).miou)


def open_source(settings: Params, out: Path) -> Source:
    """Open the active profile's validation split."""
    data = locate_prepared(settings.profile)
    return Source(settings, Store(data, "val"), records.read(Manifest, data / MANIFEST), out, {})


def draw_pictures(settings: Params, out: Path) -> dict[str, Any]:
    """Draw all pictures and return what each shows, as pictures.json has it.

    `missing` has a sentence for each picture that cannot be drawn.
    """
    about: dict[str, Any] = {"profile": settings.profile, "seed": settings.seeds[0]}
    if (locate_prepared(settings.profile) / MANIFEST).exists():
        about |= _draw_networks(open_source(settings, out))
    else:
        how = "`dvc repro prepare`, then `dvc repro -s pictures report`"
        about |= {"rows": [], "missing": [f"the data are not prepared: {how}"]}
    sheet = locate_contact_sheet(settings.profile)
    about["show_images"] = settings.active.show_images
    if not settings.active.show_images:
        about["missing"].append("the profile says show_images: false, so no image of its data")
    elif sheet.exists():
        pixels = np.asarray(Image.open(sheet).convert("RGB"))
        about["contact_sheet"] = save_picture(out, "contact-sheet", pixels, False, SHEET_WIDTH)
    else:
        how = "`dvc repro contact_sheet`, then `dvc repro -s pictures report`"
        about["missing"].append(f"there is no contact sheet: {how}")
    return about


def save_picture(
    out: Path, name: str, pixels: Pixels, lossless: bool = True, width: int = WIDTH
) -> str:
    """Write a picture and return its file's name; lossless is for flat colours."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if picture.width > width:
        how = Image.Resampling.NEAREST if lossless else Image.Resampling.LANCZOS
        picture = picture.resize((width, round(picture.height * width / picture.width)), how)
    file = f"{name}.webp"
    picture.save(out / file, "WEBP", lossless=lossless, quality=80, method=4)
    return file


def rank_images(source: Source, network: SegmentationNetwork) -> list[tuple[float, str, int]]:
    """Return mIoU, name and index of the validation images, from the worst to the best."""
    ranking, store = [], source.store
    with Reporter("pictures", len(store)) as reporter:
        for group in group_by_size(store, source.settings.active.evaluate.batch_size):
            samples = [store[i] for i in group]
            predictions = source.predict(network, [np.asarray(s.image) for s in samples])
            for i, sample, ids in zip(group, samples, predictions, strict=True):
                miou = source.score_image(sample.label, ids)
                if not np.isnan(miou):  # an image without a labelled pixel
                    ranking.append((miou, store.names[i], i))
            reporter.update(len(ranking))
    return sorted(ranking)


def choose_point(sample: Sample, baseline: Pixels, ann: Pixels) -> tuple[float, float]:
    """Return a point deep inside the largest region that only the full network has right.

    The point is in parts of the height and of the width. It is the centre if there is no such
    region.
    """
    regions, number = ndimage.label((ann == sample.label) & (baseline != sample.label))
    if not number:
        return CENTRE
    largest = 1 + int(np.bincount(regions.ravel())[1:].argmax())
    inside = np.pad(regions == largest, 1)
    depth = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return (int(row) + 0.5) / depth.shape[0], (int(column) + 0.5) / depth.shape[1]


def _draw_networks(source: Source) -> dict[str, Any]:
    """Draw the predictions and the attention, and return what each picture shows."""
    settings = source.settings
    about: dict[str, Any] = {"rows": [], "attention": [], "missing": [], "weights": source.weights}
    variants = {
        pair: list_published_variants(settings, pair)[:1]
        for pair in (BASELINE, ANN, NB, APNB, AFNB)
    }
    try:
        for name, pair in (("baseline", BASELINE), ("full network", ANN)):
            if not variants[pair]:
                raise InputError(f"params.yaml has no {name} among its variants")
        about["rows"] = list(_draw_predictions(source, *variants[BASELINE], *variants[ANN]))
    except InputError as error:
        about["missing"].append(str(error))
        return about
    median = about["rows"][1]
    image = np.asarray(source.store[median["index"]].image)
    for variant in (v for pair in (NB, APNB, AFNB) for v in variants[pair]):
        try:
            about["attention"].append(_draw_attention(source, variant, image, median["point"]))
        except InputError as error:
            about["missing"].append(str(error))
    return about


def _draw_predictions(source: Source, baseline: str, ann: str) -> Iterator[dict[str, Any]]:
    """Draw the best, the median and the worst image by the full network's mIoU."""
    baseline_network, ann_network = source.load_network(baseline), source.load_network(ann)
    ranking = rank_images(source, ann_network)
    if not ranking:
        raise InputError("no image of the validation split has a labelled pixel")
    dataset = DATASETS[source.manifest.dataset]
    palette = make_palette(len(dataset.classes), dataset.colours)
    for which, place in (("best", -1), ("median", (len(ranking) - 1) // 2), ("worst", 0)):
        miou, name, i = ranking[place]
        sample = Sample(np.asarray(source.store[i].image), source.store[i].label)
        baseline_ids = source.predict(baseline_network, [sample.image])[0]
        ann_ids = source.predict(ann_network, [sample.image])[0]
        maps = {"truth": sample.label, "baseline": baseline_ids, "ann": ann_ids}
        pictures = {what: palette[ids] for what, ids in maps.items()}
        pictures["difference"] = color_differences(sample.label, baseline_ids, ann_ids)
        files = {
            what: save_picture(source.out, f"{which}-{what}", pixels)
            for what, pixels in pictures.items()
        }
        if source.settings.active.show_images:
            image = save_picture(source.out, f"{which}-image", sample.image, lossless=False)
            files = {"image": image} | files
        classes = np.unique(sample.label[sample.label < BACKGROUND]).tolist()
        yield {
            "which": which,
            "name": name,
            "index": i,
            "miou": {"baseline": source.score_image(sample.label, baseline_ids), "ann": miou},
            "files": files,
            "classes": {dataset.classes[c]: palette[c].tolist() for c in classes},
            "point": choose_point(sample, baseline_ids, ann_ids),
        }


def _draw_attention(source: Source, variant: str, image: Pixels, point: Any) -> dict[str, Any]:
    """Draw what the point attends to in the variant's one block, by position and by anchor."""
    network = source.load_network(variant)
    batch = resize_for_whole(stack_images([image]), source.settings.active.evaluate)
    ((block, attention),) = network_attention(network, batch, point).items()
    if not source.settings.active.show_images:
        image = np.full_like(image, GREY)
    stem, files = f"attention-{variant}", {}
    files["positions"] = save_picture(
        source.out, stem, draw_positions(image, attention, point), lossless=False
    )
    sampler = attention_blocks(network)[block].sampler
    if sampler is not None and sampler.sampling != "random":
        grids = draw_anchors(image, attention, sampler.pool_sizes, point)
        for n, grid in zip(sampler.pool_sizes, grids, strict=True):
            files[str(n)] = save_picture(source.out, f"{stem}-{n}", grid, lossless=False)
    return {"variant": variant, "files": files, "keys": attention.weights.shape[2]}
