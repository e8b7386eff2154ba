"""Prediction with a trained network: class ids by a protocol of params.yaml."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ann import SegmentationNetwork
from pipeline.common import checkpoint
from pipeline.common.cli import InputError
from pipeline.common.params import Evaluate
from pipeline.inputs.store import Pixels, Store
from pipeline.scoring import protocols


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
    pools, stride = about["network"].get("pool_sizes") or [1], about["network"]["output_stride"]
    for protocol in settings.protocols:
        side = min(smallest_side(size, protocol, settings) for size in sizes)
        if max(pools) > -(-side // stride):
            raise InputError(
                f"{file}: its pool_sizes is {pools}; allowed with the protocol {protocol} are "
                f"sizes up to {-(-side // stride)}, for it shows the network a side of {side} "
                f"pixels"
            )
    torch.set_num_threads(settings.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def smallest_side(size: tuple[int, int], protocol: str, settings: Any) -> int:
    """The shortest side of what the network is shown of an image of this size."""
    if protocol == "whole":
        return min(size)
    if protocol == "multi_scale":
        smallest = protocols.scaled_size(size, min(settings.scales))
        if not settings.window or not protocols.exceeds(smallest, settings.window):
            return min(smallest)
    return min(settings.window)


@torch.inference_mode()
def predict(network: SegmentationNetwork, images: Tensor, protocol: str, settings: Any) -> Pixels:
    """Class ids (B, H, W) of images (B, 3, H, W) uint8; but for `whole`, one image at a time.

    settings: an `Evaluate`; its schema sees to the keys that a protocol needs.
    """
    s = settings
    if protocol == "whole":
        return _ids(protocols.whole(network, images))
    if protocol == "sliding":
        score = partial(protocols.sliding, window=s.window, stride=s.stride)
    else:
        score = partial(protocols.multi_scale, scales=s.scales, flip=s.flip)
        score = partial(score, window=s.window, stride=s.stride)
    return np.concatenate([_ids(score(network, image)) for image in images.split(1)])


def _ids(scores: Tensor) -> Pixels:
    ids: Pixels = scores.argmax(dim=1).to(torch.uint8).cpu().numpy()
    return ids


def as_batch(images: list[Pixels]) -> Tensor:
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
