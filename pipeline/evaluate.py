"""Stage evaluate: score one trained network on the validation split.

    python -m pipeline.evaluate VARIANT SEED

Every protocol of params.yaml is scored in one pass over the data: one confusion matrix each over
the whole split, at the labels' own size. The network is built by its file alone.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ann import SegmentationNetwork, confusion_matrix
from pipeline.common import cli, params
from pipeline.common.files import read_json, write_json
from pipeline.common.paths import RunPaths
from pipeline.common.progress import Reporter
from pipeline.inputs.store import Store
from pipeline.prepare import MANIFEST, folder
from pipeline.scoring.predict import as_batch, batches_of_one_size, load, predict
from pipeline.scoring.results import protocol_scores

Confusion = npt.NDArray[np.int64]


def evaluate(
    network: SegmentationNetwork, store: Store, classes: int, settings: params.Evaluate, title: str
) -> dict[str, Confusion]:
    """The confusion matrix (classes, classes) over the split by each protocol."""
    shape = (classes, classes)
    total: dict[str, Confusion] = {p: np.zeros(shape, np.int64) for p in settings.protocols}
    done = 0
    with Reporter(title, len(store)) as reporter:
        for group in batches_of_one_size(store, settings.batch_size):
            samples = [store[i] for i in group]
            images, labels = as_batch(samples), np.stack([s.label for s in samples])
            for protocol, confusion in total.items():
                ids = predict(network, images, protocol, settings)
                confusion += confusion_matrix(labels, ids, classes)
            done += len(group)
            reporter.update(done)
    return total


def score(file: Path, data: Path, settings: params.Evaluate, name: str) -> dict[str, Any]:
    """What scores.json says of the network in `file` on the validation split of `data`."""
    manifest, store = read_json(data / MANIFEST), Store(data, "val")
    classes = manifest["classes"]
    network = load(file, manifest["dataset"], classes, store.sizes, settings)
    confusions = evaluate(network, store, len(classes), settings, f"evaluate {name}")
    found = {p: protocol_scores(confusion, classes) for p, confusion in confusions.items()}
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
