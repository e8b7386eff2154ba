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
from pipeline.engine import networks
from pipeline.engine.errors import InputError
from pipeline.engine.gpus import choose_device
from pipeline.engine.precision import autocast, resolve_precision, set_up_cuda
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
            f"{file} must be trained for the {len(classes)} classes of {dataset} in their order, "
            f"got {len(about['classes'])} classes"
        )
    trials.check_network(str(file), about["network"], evaluation_trials(sizes, options))
    torch.set_num_threads(options.threads)
    device = choose_device()
    if device.type == "cuda":
        precision = resolve_precision(options.precision, device)
        set_up_cuda(precision, sizes_are_fixed=len(set(sizes)) == 1)
    return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


@torch.inference_mode()
def predict(
    network: SegmentationNetwork,
    images: Tensor,
    protocol: str,
    options: Any,
    maps: tuple[Tensor, Tensor] | None = None,
) -> Pixels:
    """Return the class ids (B, H, W) of images (B, 3, H, W), both uint8.

    Only `whole` takes all images at once. The other protocols take one at a time, and of its
    windows as many at once as `options.batch_size` says.

    Args:
        network: The network, in evaluation mode.
        images: Images of one size.
        protocol: The protocol's name.
        options: An `Evaluate`, whose schema ensures the keys that the protocol needs.
        maps: The backbone's maps of the images, where they are computed before; `whole` reads them.
    """
    device = network.mean.device
    with autocast(resolve_precision(options.precision, device), device):
        if protocol == "whole":
            return _choose_classes(_score_whole(network, images, options, maps))
        score = {"sliding": _score_windows, "multi_scale": _score_scales}[protocol]
        return np.concatenate(
            [_choose_classes(score(network, image, options)) for image in images.split(1)]
        )


def _score_whole(
    network: SegmentationNetwork,
    images: Tensor,
    options: Any,
    maps: tuple[Tensor, Tensor] | None,
) -> Tensor:
    size = images.shape[2], images.shape[3]
    if maps is not None:
        return protocols.whole_by_maps(network, maps, size)
    return protocols.whole(network, resize_for_whole(images, options), size)


def _score_windows(network: SegmentationNetwork, image: Tensor, options: Any) -> Tensor:
    size = image.shape[2], image.shape[3]
    image = protocols.resize(image, first_scale(size, options))
    window, stride = options.window, options.stride
    return protocols.sliding(network, image, window, stride, size, options.batch_size)


def _score_scales(network: SegmentationNetwork, image: Tensor, options: Any) -> Tensor:
    first = first_scale((image.shape[2], image.shape[3]), options)
    return protocols.multi_scale(
        network,
        image,
        [first * scale for scale in options.scales],
        options.flip,
        options.window,
        options.stride,
        options.batch_size,
    )


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
