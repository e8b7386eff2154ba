"""Stage evaluate: score one trained network on the validation split.

    python -m pipeline.evaluate VARIANT SEED

Every protocol of params.yaml is scored in one pass over the data: one confusion matrix each over
the whole split, at the labels' own size. The network is built by its file alone.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from ann import SegmentationNetwork
from pipeline.common import cli, params
from pipeline.common.files import read_json, write_json
from pipeline.common.paths import RunPaths
from pipeline.common.progress import Reporter
from pipeline.inputs.store import Store
from pipeline.prepare import MANIFEST, folder
from pipeline.scoring.categories import categories
from pipeline.scoring.predict import as_batch, batches_of_one_size, load, predict
from pipeline.scoring.results import Confusion, count, protocol_scores


def evaluate(
    network: SegmentationNetwork,
    store: Store,
    settings: params.Evaluate,
    title: str,
    *,
    classes: int,
    background: bool,
) -> dict[str, Confusion]:
    """The confusion matrix over the split by each protocol, as pipeline.scoring.results counts."""
    total: dict[str, Confusion] = {}
    done = 0
    with Reporter(title, len(store)) as reporter:
        for group in batches_of_one_size(store, settings.batch_size):
            samples = [store[i] for i in group]
            images = as_batch([s.image for s in samples])
            labels = np.stack([s.label for s in samples])
            for protocol in settings.protocols:
                ids = predict(network, images, protocol, settings)
                counts = count(labels, ids, classes, background)
                total[protocol] = total.get(protocol, 0) + counts
            done += len(group)
            reporter.update(done)
    return total


def score(file: Path, data: Path, settings: params.Evaluate, name: str) -> dict[str, Any]:
    """What scores.json says of the network in `file` on the validation split of `data`."""
    manifest, store = read_json(data / MANIFEST), Store(data, "val")
    classes = manifest["classes"]
    network = load(file, manifest["dataset"], classes, store.sizes, settings)
    confusions = evaluate(
        network,
        store,
        settings,
        f"evaluate {name}",
        classes=len(classes),
        background=manifest["background"],
    )
    groups = categories(classes)
    found = {p: protocol_scores(c, classes, groups) for p, c in confusions.items()}
    told = ", ".join(f"{100 * s['miou']:.2f} ({p})" for p, s in found.items())
    print(f"{name}: mIoU {told}")
    return {
        "images": manifest["splits"]["val"]["count"],
        "dataset_digest": manifest["digest"],
        "protocols": found,
    }


def main() -> None:
    settings, variant, seed = params.load_run("evaluate", sys.argv[1:])
    paths = RunPaths(settings.profile, variant, seed)
    result = score(paths.weights, folder(settings.profile), settings.active.evaluate, paths.name)
    write_json(paths.scores, result)


if __name__ == "__main__":
    cli.run(main)
