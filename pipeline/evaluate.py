"""Stage evaluate: score one trained network on the validation split.

    python -m pipeline.evaluate VARIANT SEED

One confusion matrix over the dataset, at the labels' own size; whole images, one scale. The
network is built by its file alone.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ann import SegmentationNetwork
from ann.metrics import confusion_matrix, scores
from pipeline.common import checkpoint, cli, params
from pipeline.common.files import read_json, write_json
from pipeline.common.paths import RunPaths
from pipeline.common.progress import Reporter
from pipeline.inputs.store import Pixels, Store
from pipeline.prepare import MANIFEST, folder


def predict(network: SegmentationNetwork, images: torch.Tensor) -> Pixels:
    """Class ids (B, H, W) of images (B, 3, H, W), the logits upsampled to the images' size."""
    logits, _ = network(images)
    full = F.interpolate(
        logits.float(), images.shape[2:], mode="bilinear", align_corners=network.align_corners
    )
    ids: Pixels = full.argmax(dim=1).to(torch.uint8).cpu().numpy()
    return ids


def batches_of_one_size(store: Store, batch_size: int) -> list[list[int]]:
    """The samples in their order, cut where the batch is full or the size changes."""
    groups: list[list[int]] = []
    for i, size in enumerate(store.sizes):
        if groups and len(groups[-1]) < batch_size and store.sizes[groups[-1][-1]] == size:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def evaluate(
    network: SegmentationNetwork, store: Store, classes: int, batch_size: int, title: str
) -> Any:
    """The confusion matrix (classes, classes) over the split."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    total = np.zeros((classes, classes), np.int64)
    done = 0
    with torch.inference_mode(), Reporter(title, len(store)) as reporter:
        for group in batches_of_one_size(store, batch_size):
            samples = [store[i] for i in group]
            images = torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2)
            predictions = predict(network, images.to(device))
            total += confusion_matrix(np.stack([s.label for s in samples]), predictions, classes)
            done += len(group)
            reporter.update(done)
    return total


def score(file: Path, data: Path, protocol: params.Evaluate, name: str) -> dict[str, Any]:
    """What scores.json says of the network in `file` on the validation split of `data`."""
    torch.set_num_threads(protocol.threads)
    network, about = checkpoint.load_network(file)
    manifest = read_json(data / MANIFEST)
    classes = manifest["classes"]
    if about["classes"] != classes:
        raise cli.InputError(
            f"{file}: trained for {len(about['classes'])} classes; allowed are the "
            f"{len(classes)} of {manifest['dataset']}"
        )
    store = Store(data, "val")
    confusion = evaluate(network, store, len(classes), protocol.batch_size, f"evaluate {name}")
    result = scores(confusion)
    iou = [None if np.isnan(x) else float(x) for x in result.class_iou]
    print(f"{name}: mIoU {100 * result.miou:.2f}")
    return {
        "miou": result.miou,
        "pixel_accuracy": result.pixel_accuracy,
        "classes_present": result.classes_present,
        "class_iou": dict(zip(classes, iou, strict=True)),
        "images": manifest["splits"]["val"]["count"],
        "dataset_digest": manifest["digest"],
        "confusion": confusion.tolist(),
    }


def main() -> None:
    settings, variant, seed = params.load_run("evaluate", sys.argv[1:])
    paths = RunPaths(settings.profile, variant, seed)
    result = score(paths.weights, folder(settings.profile), settings.active.evaluate, paths.name)
    write_json(paths.scores, result)


if __name__ == "__main__":
    cli.run(main)
