"""Predict class ids with a trained network, by a protocol of params.yaml."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ann import SegmentationNetwork
from pipeline.data.formats.base import Pixels
from pipeline.data.formats.files import ImageFile
from pipeline.data.prepared.store import Store
from pipeline.engine import networks
from pipeline.engine.errors import InputError
from pipeline.engine.gpus import choose_device
from pipeline.scoring import protocols
from pipeline.scoring.sizes import evaluation_trials, first_scale
from pipeline.settings import trials
from pipeline.settings.schema import Evaluate


def load_network(
    file: Path, dataset: str, classes: list[str], sizes: list[tuple[int, int]], options: Evaluate
) -> SegmentationNetwork:
    """Load a trained network, ready to predict.

    Args:
        file: Its weights.
        dataset: The dataset's name, for a message.
        classes: The classes that the network must have.
        sizes: Height and width of the images to come.
        options: The evaluation that it must be able to do.

    Raises:
        InputError: The network does not fit the classes or the sizes.
    """
    network, about = networks.load_network(file)
    if about["classes"] != classes:
        raise InputError(
            f"{file}: trained for {len(about['classes'])} classes; allowed are the "
            f"{len(classes)} of {dataset}"
        )
    trials.check_network(str(file), about["network"], evaluation_trials(sizes, options))
    torch.set_num_threads(options.threads)
    return network.to(choose_device(), memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


@torch.inference_mode()
def predict(
    network: SegmentationNetwork,
    images: Tensor,
    protocol: str,
    options: Any,
    maps: tuple[Tensor, Tensor] | None = None,
) -> Pixels:
    """Return the class ids (B, H, W) of images (B, 3, H, W), both uint8.

    Only `whole` takes all images at once; the other protocols take one at a time.

    Args:
        network: The network, in evaluation mode.
        images: Images of one size.
        protocol: The protocol's name.
        options: An `Evaluate`, whose schema ensures the keys that the protocol needs.
        maps: The backbone's maps of the images, where they are computed before; `whole` reads them.
    """
    size = images.shape[2], images.shape[3]
    scale = first_scale(size, options)
    if protocol == "whole" and maps is not None:
        return _choose_classes(protocols.whole_by_maps(network, maps, size))
    if protocol == "whole":
        return _choose_classes(protocols.whole(network, protocols.resize(images, scale), size))
    ids = []
    for image in images.split(1):
        if protocol == "sliding":
            image = protocols.resize(image, scale)
            score = protocols.sliding(network, image, options.window, options.stride, size)
        else:
            scales = [scale * x for x in options.scales]
            score = protocols.multi_scale(
                network, image, scales, options.flip, options.window, options.stride
            )
        ids.append(_choose_classes(score))
    return np.concatenate(ids)


def resize_for_whole(images: Tensor, options: Any) -> Tensor:
    """Return the images in the size in which `whole` gives them to the network."""
    return protocols.resize(images, first_scale((images.shape[2], images.shape[3]), options))


def _choose_classes(scores: Tensor) -> Pixels:
    """Return the class ids (B, H, W) of the highest scores (B, classes, H, W)."""
    ids: Pixels = scores.argmax(dim=1).to(torch.uint8).cpu().numpy()
    return ids


def stack_images(images: Sequence[Pixels | ImageFile]) -> Tensor:
    """Return images (H, W, 3) of one size as one tensor (B, 3, H, W) uint8, channels last."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def group_by_size(store: Store, batch_size: int) -> list[list[int]]:
    """Return batches of samples in their order; a new one starts when the size changes."""
    groups: list[list[int]] = []
    for i, size in enumerate(store.sizes):
        if groups and len(groups[-1]) < batch_size and store.sizes[groups[-1][-1]] == size:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups
