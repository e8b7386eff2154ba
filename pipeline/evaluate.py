"""Stage evaluate: score one trained network on the validation split.

    python -m pipeline.evaluate VARIANT SEED
    torchrun --nproc-per-node 8 -m pipeline.evaluate VARIANT SEED

Every protocol of params.yaml is scored in one pass over the data: one confusion matrix each over
the whole split, at the labels' own size. The network is built by its file alone. Several processes
take the batches in turn, each batch once, and add up their counts: the matrix is the same.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from ann import SegmentationNetwork
from pipeline.common import cli, failures, params
from pipeline.common.files import read_json, write_json
from pipeline.common.paths import RunPaths
from pipeline.common.processes import launch
from pipeline.common.progress import Reporter
from pipeline.drawing import examples
from pipeline.inputs.store import Store
from pipeline.prepare import MANIFEST, folder
from pipeline.scoring.categories import categories
from pipeline.scoring.predict import as_batch, batches_of_one_size, load, predict
from pipeline.scoring.results import Confusion, count, protocol_scores


def evaluate(
    network: SegmentationNetwork,
    store: Store,
    settings: params.Evaluate,
    name: str,
    *,
    classes: int,
    background: bool,
    fabric: Fabric,
) -> dict[str, Confusion]:
    """The confusion matrix over the split by each protocol, as pipeline.scoring.results counts."""
    total = {p: np.zeros((classes + background,) * 2, np.int64) for p in settings.protocols}
    groups = batches_of_one_size(store, settings.batch_size)
    own = groups[fabric.global_rank :: fabric.world_size]
    done, protocol, size = 0, settings.protocols[0], (0, 0)
    with (
        Reporter(f"evaluate {name}", sum(map(len, own)), shown=fabric.is_global_zero) as reporter,
        failures.memory_told(lambda: (too_large(name, settings, protocol, size), None)),
    ):
        for group in own:
            samples, size = [store[i] for i in group], store.sizes[group[0]]
            images = as_batch([s.image for s in samples])
            labels = np.stack([s.label for s in samples])
            for protocol in settings.protocols:
                ids = predict(network, images, protocol, settings)
                total[protocol] += count(labels, ids, classes, background)
            done += len(group)
            reporter.update(done)
    return {p: _over_all(fabric, matrix) for p, matrix in total.items()}


def _over_all(fabric: Fabric, matrix: Confusion) -> Confusion:
    """The sum over the processes, in whole numbers."""
    if fabric.world_size == 1:
        return matrix
    found = fabric.all_reduce(torch.from_numpy(matrix).to(fabric.device), reduce_op="sum")
    assert isinstance(found, torch.Tensor)
    return found.cpu().numpy()


def too_large(name: str, settings: params.Evaluate, protocol: str, size: tuple[int, int]) -> str:
    """What to say where a prediction does not fit into the memory."""
    at_once = settings.batch_size if protocol == "whole" else 1
    less = f"batch_size to {at_once // 2}" if at_once > 1 else "window, or leave out the protocol"
    return (
        f"{name} ran out of memory with {at_once} images of {size[0]}x{size[1]} at once by the "
        f"protocol {protocol}; lower evaluate.{less}"
    )


def score(paths: RunPaths, data: Path, settings: params.Evaluate, fabric: Fabric) -> dict[str, Any]:
    """What scores.json says of a network on the validation split of `data`; draws examples."""
    manifest, store = read_json(data / MANIFEST), Store(data, "val")
    classes = manifest["classes"]
    network = load(paths.weights, manifest["dataset"], classes, store.sizes, settings)
    confusions = evaluate(
        network,
        store,
        settings,
        paths.name,
        classes=len(classes),
        background=manifest["background"],
        fabric=fabric,
    )
    groups = categories(classes)
    found = {p: protocol_scores(c, classes, groups) for p, c in confusions.items()}
    told = ", ".join(f"{100 * s['miou']:.2f} ({p})" for p, s in found.items())
    fabric.print(f"{paths.name}: mIoU {told}")
    if fabric.is_global_zero:
        examples.write(paths.predictions, network, store, manifest["dataset"], settings)
    return {
        "images": manifest["splits"]["val"]["count"],
        "dataset_digest": manifest["digest"],
        "protocols": found,
    }


def main() -> None:
    settings, variant, seed = params.load_run("evaluate", sys.argv[1:])
    paths, fabric = RunPaths(settings.profile, variant, seed), launch()
    data, wanted = folder(settings.profile), settings.active.evaluate
    with failures.kept(paths, settings, "evaluate"):
        result = score(paths, data, wanted, fabric)
        if fabric.is_global_zero:
            write_json(paths.scores, result)


if __name__ == "__main__":
    cli.run(main)
