"""Stage evaluate: score one trained network on the validation split.

    python -m pipeline.evaluate VARIANT SEED

One confusion matrix over the dataset, at the labels' own size; whole images, one scale. The
network is built by its file alone.
"""

import sys
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ann.metrics import confusion_matrix, scores
from pipeline.common import checkpoint, cli, params
from pipeline.common.files import read_json, write_json
from pipeline.common.paths import RunPaths
from pipeline.common.progress import Reporter
from pipeline.inputs.store import Pixels, Store
from pipeline.prepare import MANIFEST, folder


def predict(network: nn.Module, images: torch.Tensor) -> Pixels:
    """Class ids (B, H, W) of images (B, 3, H, W), the logits upsampled to the images' size."""
    logits, _ = network(images)
    logits = F.interpolate(logits.float(), images.shape[2:], mode="bilinear", align_corners=False)
    ids: Pixels = logits.argmax(dim=1).to(torch.uint8).cpu().numpy()
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


def evaluate(network: nn.Module, store: Store, classes: int, batch_size: int, title: str) -> Any:
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


def main() -> None:
    settings = params.load()
    if len(sys.argv) != 3:
        raise cli.InputError("usage: python -m pipeline.evaluate VARIANT SEED")
    variant, seed = params.variant_and_seed(settings, *sys.argv[1:])
    paths, data = RunPaths(settings.profile, variant, seed), folder(settings.profile)
    protocol = settings.active.evaluate
    torch.set_num_threads(protocol.threads)
    network, about = checkpoint.load_network(paths.weights)
    manifest = read_json(data / MANIFEST)
    classes = manifest["classes"]
    if about["classes"] != classes:
        raise cli.InputError(
            f"{paths.weights}: trained for {len(about['classes'])} classes; allowed are the "
            f"{len(classes)} of {manifest['dataset']}"
        )
    confusion = evaluate(
        network, Store(data, "val"), len(classes), protocol.batch_size, f"evaluate {variant}-{seed}"
    )
    result = scores(confusion)
    iou = [None if np.isnan(x) else float(x) for x in result.class_iou]
    write_json(
        paths.scores,
        {
            "miou": result.miou,
            "pixel_accuracy": result.pixel_accuracy,
            "classes_present": result.classes_present,
            "class_iou": dict(zip(classes, iou, strict=True)),
            "images": manifest["splits"]["val"]["count"],
            "dataset_digest": manifest["digest"],
            "confusion": confusion.tolist(),
        },
    )
    print(f"{variant}-{seed}: mIoU {100 * result.miou:.2f}")


if __name__ == "__main__":
    cli.run(main)
