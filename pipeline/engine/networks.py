"""Build the networks that params.yaml describes, and load trained ones."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import contexts
from ann import CONTEXTS, BlockOptions, SegmentationNetwork, layout_settings
from pipeline.engine import checkpoint
from pipeline.engine.errors import InputError
from pipeline.engine.weight_files import digest_weights
from pipeline.engine.weights import load_backbone


def describe_layout(layout: str) -> dict[str, Any]:
    """Return the `network` settings of a published layout, as params.yaml would have them."""
    settings = layout_settings(layout)
    return settings | {"options": asdict(settings["options"])}


def build(network: dict[str, Any], classes: int) -> SegmentationNetwork:
    """Build the network that the `network` settings of params.yaml describe."""
    settings = {k: v for k, v in network.items() if k not in ("weights", "options", "settings")}
    if settings["context"] not in CONTEXTS:
        settings["context"] = partial(
            contexts.load(settings["context"]).Context, **network["settings"]
        )
    return SegmentationNetwork(classes, options=BlockOptions(**network["options"]), **settings)


def load_network(path: Path) -> tuple[SegmentationNetwork, dict[str, Any]]:
    """Load a trained network from its file alone.

    Returns:
        The network, and the JSON values of the file's metadata.

    Raises:
        InputError: The file is not one of this project's networks, or the weights of its frozen
            backbone are not here.
    """
    tensors, about = checkpoint.load(path)
    if not {"network", "classes"} <= about.keys():
        raise InputError(
            f"{path}: not a network that this project wrote; import it first, by `checkpoints` in "
            f"params.yaml"
        )
    network = build(about["network"], len(about["classes"]))
    if network.freeze:
        _load_frozen(network, about, path)
    try:
        checkpoint.load_own_state(network, tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: its tensors are not those of its network ({reason})") from None
    return network, about


def _load_frozen(network: SegmentationNetwork, about: dict[str, Any], path: Path) -> None:
    """Load a frozen backbone from the file that it was trained with."""
    name, weights = about["network"]["backbone"], about["network"]["weights"]
    expected, actual = about.get("backbone_sha256"), digest_weights(name, weights)
    if expected != actual:
        raise InputError(
            f"{path}: its frozen backbone has the weights {weights} with sha256 {expected}; those "
            f"that are here have {actual}"
        )
    load_backbone(network.backbone, name, weights)
