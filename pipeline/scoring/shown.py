"""The sizes in which an evaluation shows images to a network."""

from collections.abc import Iterable
from typing import Any

from pipeline.common.trials import Trial

Size = tuple[int, int]  # height, width


def first_scale(size: Size, settings: Any) -> float:
    """By what an image of this size is resized before all else."""
    if settings.sides is None:
        return 1.0
    shorter, longer = settings.sides
    return min(shorter / min(size), longer / max(size))


def scaled_size(size: Size, scale: float) -> Size:
    """The size of an image in a scale, a half rounded up."""
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def exceeds(size: Size, window: Size) -> bool:
    """Whether an image is higher or wider than the window."""
    return size[0] > window[0] or size[1] > window[1]


def sizes_shown(size: Size, protocol: str, settings: Any) -> set[Size]:
    """Return what the network sees of an image (height, width) by a protocol of an `Evaluate`."""
    if protocol == "sliding":
        return {settings.window}
    scale = first_scale(size, settings)
    if protocol == "whole":
        return {scaled_size(size, scale)}
    found = {scaled_size(size, scale * s) for s in settings.scales}
    window = settings.window
    return {window if window and exceeds(s, window) else s for s in found}


def evaluation_trials(sizes: Iterable[Size], settings: Any) -> list[Trial]:
    """Return the trials that tell whether a network can be evaluated on images of these sizes.

    They are of the smallest and the largest sizes that it sees: a block that takes these takes
    those between them. A window needs no image: sliding fills up what is smaller.
    """
    reasons: dict[Size, str] = {}
    if "sliding" in settings.protocols:
        reasons[settings.window] = "for a window of {}x{}".format(*settings.window)
    for size in dict.fromkeys(sizes):
        for protocol in settings.protocols:
            for shown in sizes_shown(size, protocol, settings):
                reason = "for an image of {}x{}".format(*size)
                if shown != size:
                    reason += f", of which {protocol} shows {shown[0]}x{shown[1]}"
                reasons.setdefault(shown, reason)
    measures = (lambda s: s[0], lambda s: s[1], lambda s: s[0] * s[1])
    chosen = {pick(reasons, key=by) for pick in (min, max) for by in measures} if reasons else set()
    return [Trial(1, size, False, reason) for size, reason in reasons.items() if size in chosen]
