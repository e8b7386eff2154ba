"""Prediction with a trained network: class ids by a protocol of params.yaml."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ann import SegmentationNetwork
from pipeline.common import checkpoint, trials
from pipeline.common.cli import InputError
from pipeline.common.gpus import device
from pipeline.common.params import Evaluate
from pipeline.datasets.base import Pixels
from pipeline.datasets.files import ImageFile
from pipeline.inputs.store import Store
from pipeline.scoring import protocols
from pipeline.scoring.shown import evaluation_trials, first_scale


def load(
    file: Path, dataset: str, classes: list[str], sizes: list[tuple[int, int]], settings: Evaluate
) -> SegmentationNetwork:
    """The network of a file, ready to predict; an InputError if it does not fit classes or sizes.

    sizes: (height, width) of the images to come.
    """
    network, about = checkpoint.load_network(file)
    if about["classes"] != classes:
        raise InputError(
            f"{file}: trained for {len(about['classes'])} classes; allowed are the "
            f"{len(classes)} of {dataset}"
        )
    trials.refuse(str(file), about["network"], evaluation_trials(sizes, settings))
    torch.set_num_threads(settings.threads)
    return network.to(device(), memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


@torch.inference_mode()
def predict(network: SegmentationNetwork, images: Tensor, protocol: str, settings: Any) -> Pixels:
    """Class ids (B, H, W) of images (B, 3, H, W) uint8; but for `whole`, one image at a time.

    settings: an `Evaluate`; its schema sees to the keys that a protocol needs.
    """
    s, size = settings, (images.shape[2], images.shape[3])
    scale = first_scale(size, s)
    if protocol == "whole":
        return _ids(protocols.whole(network, protocols.scaled(images, scale), size))
    ids = []
    for image in images.split(1):
        if protocol == "sliding":
            image = protocols.scaled(image, scale)
            score = protocols.sliding(network, image, s.window, s.stride, size)
        else:
            scales = [scale * x for x in s.scales]
            score = protocols.multi_scale(network, image, scales, s.flip, s.window, s.stride)
        ids.append(_ids(score))
    return np.concatenate(ids)


def as_shown(images: Tensor, settings: Any) -> Tensor:
    """The images as `whole` shows them to the network."""
    return protocols.scaled(images, first_scale((images.shape[2], images.shape[3]), settings))


def _ids(scores: Tensor) -> Pixels:
    ids: Pixels = scores.argmax(dim=1).to(torch.uint8).cpu().numpy()
    return ids


def as_batch(images: Sequence[Pixels | ImageFile]) -> Tensor:
    """Images (H, W, 3) of one size as (B, 3, H, W) uint8, channels last."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def batches_of_one_size(store: Store, batch_size: int) -> list[list[int]]:
    """The samples in their order, cut where the batch is full or the size changes."""
    groups: list[list[int]] = []
    for i, size in enumerate(store.sizes):
        if groups and len(groups[-1]) < batch_size and store.sizes[groups[-1][-1]] == size:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups
