"""Try networks on their inputs before any work, on the meta device, which computes nothing.

An input that a block cannot take makes the block itself raise an error. Functions import PyTorch
themselves, because that takes seconds.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.engine.errors import InputError
from pipeline.engine.files import digest
from pipeline.settings.fields import BACKBONE_SETTINGS

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ann import SegmentationNetwork
    from pipeline.settings.fields import NetworkSettings
    from pipeline.settings.schema import Train

Maps = dict[str, tuple["Tensor", "Tensor"]]  # of backbones, by their settings and trial


class Trial(NamedTuple):
    """A batch of images for a network.

    Attributes:
        batch: The number of images.
        size: Their height and width.
        training: Whether the network is in training mode.
        reason: What has such images, for the message.
    """

    batch: int
    size: tuple[int, int]
    training: bool
    reason: str


def list_training_trials(train: "Train", processes: int = 1) -> list[Trial]:
    """Return a trial for each number of samples that pass through a network at once.

    Batch norm covers the samples of all processes, so they count together.
    """
    share = train.batch_size // processes
    part = min(share, train.micro_batch or share)
    reason = "for a crop of {}x{}".format(*train.augment.crop)
    return [
        Trial(size * processes, train.augment.crop, True, reason)
        for size in (part, share % part)  # the last part has the remainder
        if size
    ]


def check_network(
    key: str, network: "NetworkSettings", trials: Iterable[Trial], maps: Maps | None = None
) -> None:
    """Raise an InputError for the first trial that a network fails.

    Args:
        key: The key of params.yaml, or the file, that describes the network; the message names it.
        network: The `network` settings, as `Params.resolve_network` returns them.
        trials: The inputs to try.
        maps: The backbones' maps of earlier calls, which this call reuses and adds to.
    """
    candidate = _TrialNetwork(key, network, {} if maps is None else maps)
    for trial in trials:
        error = candidate.find_failure(trial)
        if error is None:
            continue
        larger = trial._replace(batch=trial.batch + 1)
        if not trial.training or candidate.find_failure(larger):
            raise InputError(f"{key}: {error} ({trial.reason})")
        raise InputError(
            f"{key} cannot train on {trial.batch} sample at once, because a batch norm in it would "
            f"see one value of each channel ({trial.reason}); set train.micro_batch so that "
            f"train.batch_size has no part of {trial.batch}"
        )


class _TrialNetwork:
    """A network on the meta device whose backbone runs once for each trial."""

    def __init__(self, key: str, network: "NetworkSettings", maps: Maps) -> None:
        import torch

        from pipeline.engine import networks

        plain = network | {"options": network["options"] | {"form": "plain"}}
        self.backbone_settings = [network.get(name) for name in (*BACKBONE_SETTINGS, "freeze")]
        self.maps = maps
        try:
            with torch.device("meta"):
                self.model: SegmentationNetwork = networks.build(plain, classes=2)
        except Exception as error:
            raise InputError(f"{key}: {_describe_error(error)}") from None
        self.backbone: nn.Module = self.model.backbone
        if "settings" in network and self.model.context is not None:
            self.model.context.register_forward_hook(_require_same_shape)

    def find_failure(self, trial: Trial) -> str | None:
        """Return why the network fails a trial, or None if it passes."""
        try:
            self._run(trial)
        except Exception as error:  # of any type, because users may write blocks
            return _describe_error(error)
        return None

    def _run(self, trial: Trial) -> None:
        import torch
        from torch import nn

        name = digest([self.backbone_settings, trial[:3]])
        self.model.train(trial.training)
        self.backbone.train(trial.training and not self.model.freeze)
        with torch.device("meta"), torch.no_grad():
            images = torch.zeros(trial.batch, 3, *trial.size)
            if name not in self.maps:
                self.maps[name] = self.backbone(images)
            stand_in = nn.Identity()
            stand_in.forward = lambda _: self.maps[name]  # type: ignore[assignment,return-value]
            self.model.backbone = stand_in  # type: ignore[assignment]
            self.model(images, torch.zeros(trial.batch, dtype=torch.int64))


def _require_same_shape(_: "nn.Module", inputs: tuple[Any, ...], output: Any) -> None:
    expected, actual = tuple(inputs[0].shape), tuple(getattr(output, "shape", ()))
    if actual != expected:
        raise ValueError(
            f"its context must return the shape that it takes, {expected}, got "
            f"{actual or type(output).__name__}"
        )


def _describe_error(error: Exception) -> str:
    """Return an error in one line; a ValueError already has a sentence for the user."""
    text = str(error).strip().partition("\n")[0]
    if isinstance(error, ValueError) and text:
        return text
    return f"it raises {type(error).__name__} ({text or 'without a message'})"
