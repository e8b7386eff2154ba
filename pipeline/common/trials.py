"""Networks tried on what they will see, on the meta device, where nothing is computed.

What a block cannot take is found here before any work, by the error that the block itself raises.
PyTorch is imported where it is needed, because it takes seconds.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.common.cli import InputError
from pipeline.common.files import digest

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ann import SegmentationNetwork
    from pipeline.common.params import Train

_BACKBONE = ("backbone", "stem", "ceil_mode", "output_stride", "widths")
Maps = dict[str, tuple["Tensor", "Tensor"]]  # what backbones return, by settings and trial


class Trial(NamedTuple):
    """Images (batch, 3, *size) that a network sees at once, in training or not, and why."""

    batch: int
    size: tuple[int, int]
    training: bool
    reason: str


def training_trials(train: "Train", processes: int = 1) -> list[Trial]:
    """Return a trial for each number of samples that go through a network at once.

    Batch norm is over the samples of all processes, so they count together.
    """
    share = train.batch_size // processes
    part = min(share, train.micro_batch or share)
    reason = "for a crop of {}x{}".format(*train.augment.crop)
    return [
        Trial(size * processes, train.augment.crop, True, reason)
        for size in (part, share % part)  # the last part has what remains
        if size
    ]


def refuse(
    key: str, network: dict[str, Any], trials: Iterable[Trial], known: Maps | None = None
) -> None:
    """Raise an InputError for the first trial that a network fails.

    Args:
        key: What describes the network, a key of params.yaml or a file; the sentence names it.
        network: The `network` settings, as `Params.network` returns them.
        trials: What the network will see.
        known: Backbones' maps of earlier calls; they are most of the work.
    """
    tried = _Network(key, network, {} if known is None else known)
    for trial in trials:
        error = tried.failure(trial)
        if error is None:
            continue
        more = trial._replace(batch=trial.batch + 1)
        if not trial.training or tried.failure(more):
            raise InputError(f"{key}: {error} ({trial.reason})")
        raise InputError(
            f"{key} cannot train on {trial.batch} sample at once, because a batch norm in it would "
            f"see one value of each channel ({trial.reason}); set train.micro_batch so that "
            f"train.batch_size has no part of {trial.batch}"
        )


class _Network:
    """A network on the meta device whose backbone runs once for each shape."""

    def __init__(self, key: str, network: dict[str, Any], known: Maps) -> None:
        import torch

        from pipeline.common import checkpoint

        plain = network | {"options": network["options"] | {"form": "plain"}}
        self.settings, self.known = [network.get(name) for name in _BACKBONE], known
        try:
            with torch.device("meta"):
                self.model: SegmentationNetwork = checkpoint.build(plain, classes=2)
        except Exception as error:
            raise InputError(f"{key}: {_reason(error)}") from None
        self.backbone: nn.Module = self.model.backbone
        if "settings" in network and self.model.context is not None:
            self.model.context.register_forward_hook(_require_same_shape)

    def failure(self, trial: Trial) -> str | None:
        """Return what is wrong with a trial, None if nothing is."""
        try:
            self._run(trial)
        except Exception as error:  # of any type, because anyone may write a block
            return _reason(error)
        return None

    def _run(self, trial: Trial) -> None:
        import torch
        from torch import nn

        name = digest([self.settings, trial[:3]])
        self.model.train(trial.training)
        self.backbone.train(trial.training)
        with torch.device("meta"), torch.no_grad():
            images = torch.zeros(trial.batch, 3, *trial.size)
            if name not in self.known:
                self.known[name] = self.backbone(images)
            stand_in = nn.Identity()
            stand_in.forward = lambda _: self.known[name]  # type: ignore[assignment,return-value]
            self.model.backbone = stand_in  # type: ignore[assignment]
            self.model(images, torch.zeros(trial.batch, dtype=torch.int64))


def _require_same_shape(_: "nn.Module", inputs: tuple[Any, ...], output: Any) -> None:
    wanted, found = tuple(inputs[0].shape), tuple(getattr(output, "shape", ()))
    if found != wanted:
        raise ValueError(
            f"its context turns a map {wanted} into {found or type(output).__name__}; allowed is "
            f"the same shape"
        )


def _reason(error: Exception) -> str:
    """Return an error in one line; a ValueError is a sentence that was written for the user."""
    text = str(error).strip().partition("\n")[0]
    if isinstance(error, ValueError) and text:
        return text
    return f"it raises {type(error).__name__} ({text or 'without a message'})"
