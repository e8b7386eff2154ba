"""Measure what the fusion of each row adds, and draw it: `python -m pipeline fusion docs/afnb`."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ann import NonLocalBlock, SegmentationNetwork
from pipeline.data.prepared.store import Store
from pipeline.engine.errors import InputError
from pipeline.engine.processes import launch
from pipeline.reporting.figures import fusion, style
from pipeline.scoring.evaluation import evaluate_split
from pipeline.scoring.fusion import observe, replace_context, take_image_mean
from pipeline.scoring.predict import load_network
from pipeline.scoring.results import protocol_scores
from pipeline.settings import params, records
from pipeline.settings.paths import MANIFEST, RunPaths, locate_prepared
from pipeline.settings.records import Manifest
from pipeline.settings.schema import Params

# The change of the context, and the column of the score with it.
UNCHANGED, IMAGE_MEAN, SPLIT_MEAN = "miou", "miou_image_mean", "miou_split_mean"


class Scorer:
    """Score a network of the active profile on one of its splits, by the first protocol."""

    def __init__(self, settings: Params) -> None:
        self.settings, self.data = settings, locate_prepared(settings.profile)
        self.manifest, self.fabric = records.read(Manifest, self.data / MANIFEST), launch()
        options = settings.active.evaluate
        self.options = options.model_copy(update={"protocols": options.protocols[:1]})
        self.stores = {split: Store(self.data, split) for split in ("train", "val")}

    def load(self, paths: RunPaths) -> SegmentationNetwork:
        """Return the trained network of a run."""
        sizes = [size for store in self.stores.values() for size in store.sizes]
        manifest = self.manifest
        return load_network(paths.weights, manifest.dataset, manifest.classes, sizes, self.options)

    def score(self, network: SegmentationNetwork, paths: RunPaths, split: str) -> float:
        """Return the mIoU in percent."""
        settings, manifest = self.settings, self.manifest
        is_cached = settings.active.features.cache
        confusions, _ = evaluate_split(
            network,
            paths,
            split,
            manifest,
            self.stores[split],
            self.options,
            self.fabric,
            settings.resolve_network(paths.variant) if is_cached else None,
        )
        confusion = confusions[self.options.protocols[0]]
        return 100 * protocol_scores(confusion, manifest.classes, None).miou


def main(stem: Path) -> None:
    """Write stem.csv and stem.svg, with a row for each trained network of the rows.

    Args:
        stem: The files' path without a suffix.

    Raises:
        InputError: None of the rows is trained.
    """
    settings = params.load()
    frame = pd.DataFrame(_measure_all(settings))
    if frame.empty:
        raise InputError(
            f"{', '.join(_list_rows(settings))} have no weights in weights/{settings.profile}; "
            f"train them first, by `make repro`"
        )
    write(frame, stem)
    print(f"{stem}.csv and {stem}.svg: {len(frame)} networks of the profile {settings.profile}")


def write(frame: pd.DataFrame, stem: Path) -> None:
    """Write the data, and the figure that is drawn from them."""
    data = stem.with_suffix(".csv")
    frame.to_csv(data, index=False, lineterminator="\n", float_format="%.3f")
    style.save_svg(fusion.draw(pd.read_csv(data)), stem.with_suffix(".svg"), data.name)


def _list_rows(settings: Params) -> list[str]:
    """Return the rows that differ in their fusion alone; the context would cover what it does."""
    return [name for name in settings.rows if settings.variants[name].context == "none"]


def _measure_all(settings: Params) -> Iterator[dict[str, Any]]:
    scorer = Scorer(settings)
    for name in _list_rows(settings):
        for seed in settings.seeds:
            paths = RunPaths(settings.profile, name, seed)
            if paths.weights.exists():
                yield {"variant": name, "seed": seed} | measure(scorer, paths)


@torch.inference_mode()
def measure(scorer: Scorer, paths: RunPaths) -> dict[str, float]:
    """Return a run's scores in percent, and what its fusion block passes on if it has one."""
    network = scorer.load(paths)
    values = {"miou_train": scorer.score(network, paths, "train")}
    block = network.fusion
    if not isinstance(block, NonLocalBlock):
        return values | {UNCHANGED: scorer.score(network, paths, "val")}
    block.options = replace(block.options, form="plain")  # whose layers can be observed
    with observe(block) as use:
        values[UNCHANGED] = scorer.score(network, paths, "val")
    mean = use.context.mean.float()[:, None, None]
    for column, change in (
        (IMAGE_MEAN, take_image_mean),
        (SPLIT_MEAN, lambda context: mean.expand_as(context).contiguous()),
    ):
        with replace_context(block, change):
            values[column] = scorer.score(network, paths, "val")
    return values | {"ratio": use.ratio, "within": use.within, "anchors_used": use.anchors_used}
