"""Score a network on the validation split by every protocol, in one pass over the data."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric

from ann import SegmentationNetwork
from pipeline.data.features.origin import open_features
from pipeline.data.features.store import Features
from pipeline.data.prepared.store import Store
from pipeline.data.samples.loader import stack_maps
from pipeline.engine import failures
from pipeline.engine.progress import Reporter
from pipeline.scoring.categories import categories
from pipeline.scoring.predict import group_by_size, load_network, predict, stack_images
from pipeline.scoring.results import Confusion, count, protocol_scores
from pipeline.settings import fields, records, schema
from pipeline.settings.fields import NetworkSettings
from pipeline.settings.paths import MANIFEST, RunPaths
from pipeline.settings.records import Manifest, Scores


class Evaluation(NamedTuple):
    """The scores of a network, the network itself, and its data."""

    scores: Scores
    network: SegmentationNetwork
    store: Store
    dataset: str


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
) -> dict[fields.Protocol, Confusion]:
    """Return the confusion matrix over a split by each protocol, as `results.count` counts.

    Args:
        network: The network, in evaluation mode.
        store: The split.
        options: The protocols and their options.
        name: The run's name, for the progress and messages.
        classes: The number of classes.
        background: Whether background is scored.
        fabric: The processes, which share the images.
        features: The backbone's maps of the split, where they are computed before.
    """
    total = {p: np.zeros((classes + background,) * 2, np.int64) for p in options.protocols}
    groups = group_by_size(store, options.batch_size)
    own = groups[fabric.global_rank :: fabric.world_size]
    images_done, protocol, size = 0, options.protocols[0], (0, 0)
    with (
        Reporter(f"evaluate {name}", sum(map(len, own)), visible=fabric.is_global_zero) as reporter,
        failures.convert_memory_errors(
            lambda: (describe_too_large(name, options, protocol, size), None)
        ),
    ):
        for group in own:
            samples, size = [store[i] for i in group], store.sizes[group[0]]
            images = stack_images([s.image for s in samples])
            labels = np.stack([s.label for s in samples])
            maps = stack_maps([features.read(i) for i in group]) if features else None
            for protocol in options.protocols:
                ids = predict(network, images, protocol, options, maps)
                total[protocol] += count(labels, ids, classes, background)
            images_done += len(group)
            reporter.update(images_done)
    return {p: _sum_over_processes(fabric, matrix) for p, matrix in total.items()}


def _sum_over_processes(fabric: Fabric, matrix: Confusion) -> Confusion:
    """Return the sum over the processes, in whole numbers."""
    if fabric.world_size == 1:
        return matrix
    total = fabric.all_reduce(torch.from_numpy(matrix).to(fabric.device), reduce_op="sum")
    assert isinstance(total, torch.Tensor)
    return total.cpu().numpy()


def describe_too_large(
    name: str, options: schema.Evaluate, protocol: str, size: tuple[int, int]
) -> str:
    """Return a sentence for a prediction that does not fit into the memory."""
    at_once = options.batch_size if protocol == "whole" else 1
    less = f"batch_size to {at_once // 2}" if at_once > 1 else "window, or leave out the protocol"
    return (
        f"{name} ran out of memory with {at_once} images of {size[0]}x{size[1]} at once by the "
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
) -> dict[fields.Protocol, Confusion]:
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
    )


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
    confusions = evaluate_split(network, paths, "val", manifest, store, options, fabric, cached)
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
    return Evaluation(record, network, store, manifest.dataset)
