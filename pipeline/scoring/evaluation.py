"""Score a network on the validation split by every protocol, in one pass over the data."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric

from ann import SegmentationNetwork
from pipeline.data.features.origin import open_features
from pipeline.data.features.store import Features
from pipeline.data.formats.base import Pixels
from pipeline.data.prepared.store import Store
from pipeline.engine import failures
from pipeline.engine.processes import sum_over_processes
from pipeline.engine.progress import Reporter
from pipeline.scoring.categories import categories
from pipeline.scoring.groups import Groups, group_by_size, load_groups, share_groups
from pipeline.scoring.predict import load_network, predict
from pipeline.scoring.results import Confusion, count, protocol_scores
from pipeline.settings import fields, records, schema
from pipeline.settings.fields import NetworkSettings
from pipeline.settings.paths import MANIFEST, RunPaths
from pipeline.settings.records import Manifest, Scores

EXAMPLES = 3  # images in the example picture


class Evaluation(NamedTuple):
    """The scores of a network, its data, and what it predicts for some of the images.

    Attributes:
        predictions: Class ids (H, W) by the number of the image, by the first protocol.
    """

    scores: Scores
    store: Store
    dataset: str
    predictions: dict[int, Pixels]


def evaluate(
    network: SegmentationNetwork,
    store: Store,
    options: schema.Evaluate,
    name: str,
    *,
    classes: int,
    background: bool,
    fabric: Fabric,
    features: Features | None = None,
    keep: Collection[int] = (),
) -> tuple[dict[fields.Protocol, Confusion], dict[int, Pixels]]:
    """Return the confusion matrix over a split by each protocol, as `results.count` counts.

    The first process also returns the class ids of the images in `keep`, by the first protocol.

    Args:
        network: The network, in evaluation mode.
        store: The split.
        options: The protocols and their options.
        name: The run's name, for the progress and messages.
        classes: The number of classes.
        background: Whether background is scored.
        fabric: The processes, which share the images.
        features: The backbone's maps of the split, where they are computed before.
        keep: The numbers of the images whose class ids are returned.
    """
    total = {p: np.zeros((classes + background,) * 2, np.int64) for p in options.protocols}
    own = share_groups(group_by_size(store, options.batch_size), keep, fabric)
    images_done, protocol, size = 0, options.protocols[0], (0, 0)
    predictions: dict[int, Pixels] = {}
    with (
        Reporter(f"evaluate {name}", sum(map(len, own)), visible=fabric.is_global_zero) as reporter,
        failures.convert_memory_errors(
            lambda: (describe_too_large(name, options, protocol, size), None)
        ),
    ):
        for group in load_groups(Groups(store, own, features), fabric.device):
            labels, size = group.labels.numpy(), store.sizes[group.numbers[0]]
            for protocol in options.protocols:
                ids = predict(network, group.images, protocol, options, group.maps)
                total[protocol] += count(labels, ids, classes, background)
                if protocol == options.protocols[0]:
                    pairs = zip(group.numbers, ids, strict=True)
                    predictions |= {i: label for i, label in pairs if i in keep}
            images_done += len(group.numbers)
            reporter.update(images_done)
    return {p: _sum_over_processes(fabric, matrix) for p, matrix in total.items()}, predictions


def _sum_over_processes(fabric: Fabric, matrix: Confusion) -> Confusion:
    """Return the sum over the processes, in whole numbers."""
    total: Confusion = (
        sum_over_processes(fabric, torch.from_numpy(matrix).to(fabric.device)).cpu().numpy()
    )
    return total


def describe_too_large(
    name: str, options: schema.Evaluate, protocol: str, size: tuple[int, int]
) -> str:
    """Return a sentence for a prediction that does not fit into the memory."""
    at_once = options.batch_size
    less = f"batch_size to {at_once // 2}" if at_once > 1 else "window, or leave out the protocol"
    parts = "images" if protocol == "whole" else "windows or scales of images"
    return (
        f"{name} ran out of memory with {at_once} {parts} of {size[0]}x{size[1]} at once by the "
        f"protocol {protocol}; lower evaluate.{less}"
    )


def evaluate_split(
    network: SegmentationNetwork,
    paths: RunPaths,
    split: str,
    manifest: Manifest,
    store: Store,
    options: schema.Evaluate,
    fabric: Fabric,
    cached: NetworkSettings | None = None,
    keep: Collection[int] = (),
) -> tuple[dict[fields.Protocol, Confusion], dict[int, Pixels]]:
    """Return what `evaluate` does, of a run's network on a split of the prepared data.

    Args:
        network: The network, in evaluation mode.
        paths: The run's files.
        split: train or val.
        manifest: What describes the prepared data.
        store: The split.
        options: The protocols and their options.
        fabric: The processes.
        cached: The network's settings, if the backbone's maps are computed before.
        keep: The numbers of the images whose class ids are returned.
    """
    features = None
    if cached is not None:
        features, _ = open_features(paths.profile, split, cached, manifest)
    return evaluate(
        network,
        store,
        options,
        paths.name,
        classes=len(manifest.classes),
        background=manifest.background,
        fabric=fabric,
        features=features,
        keep=keep,
    )


def choose_examples(count: int) -> list[int]:
    """Return the numbers of the images that the example picture shows."""
    numbers: list[int] = (
        np.linspace(0, count - 1, min(EXAMPLES, count)).round().astype(int).tolist()
    )
    return numbers


def score(
    paths: RunPaths,
    data: Path,
    options: schema.Evaluate,
    fabric: Fabric,
    cached: NetworkSettings | None = None,
) -> Evaluation:
    """Score a run's network on the validation split of the prepared `data`.

    Args:
        paths: The run's files.
        data: The prepared data.
        options: The protocols and their options.
        fabric: The processes.
        cached: The network's settings, if the backbone's maps are computed before.
    """
    manifest, store = records.read(Manifest, data / MANIFEST), Store(data, "val")
    classes = manifest.classes
    network = load_network(paths.weights, manifest.dataset, classes, store.sizes, options)
    keep = choose_examples(len(store))
    confusions, predictions = evaluate_split(
        network, paths, "val", manifest, store, options, fabric, cached, keep
    )
    groups = categories(classes)
    scores = {p: protocol_scores(c, classes, groups) for p, c in confusions.items()}
    summary = ", ".join(f"{100 * s.miou:.2f} ({p})" for p, s in scores.items())
    fabric.print(f"{paths.name}: mIoU {summary}")
    record = Scores(
        version=1,
        images=manifest.splits.val.count,
        dataset_digest=manifest.digest,
        protocols=scores,
    )
    return Evaluation(record, store, manifest.dataset, predictions)
