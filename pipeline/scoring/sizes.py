"""Compute the sizes of what a network sees in an evaluation."""

from collections.abc import Iterable
from typing import Any

from pipeline.settings.trials import Trial

Size = tuple[int, int]  # height, width


def first_scale(size: Size, evaluate: Any) -> float:
    """Return the scale by which an image of this size is resized first."""
    if evaluate.sides is None:
        return 1.0
    shorter, longer = evaluate.sides
    return min(shorter / min(size), longer / max(size))


def scaled_size(size: Size, scale: float) -> Size:
    """Return the size of an image in a scale, rounded half up."""
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def exceeds(size: Size, window: Size) -> bool:
    """Return whether an image is higher or wider than the window."""
    return size[0] > window[0] or size[1] > window[1]


def list_input_sizes(size: Size, protocol: str, evaluate: Any) -> set[Size]:
    """Return the sizes of what a network sees of an image by a protocol of an `Evaluate`."""
    if protocol == "sliding":
        return {evaluate.window}
    scale = first_scale(size, evaluate)
    if protocol == "whole":
        return {scaled_size(size, scale)}
    sizes = {scaled_size(size, scale * s) for s in evaluate.scales}
    window = evaluate.window
    return {window if window and exceeds(s, window) else s for s in sizes}


def evaluation_trials(sizes: Iterable[Size], evaluate: Any) -> list[Trial]:
    """Return the trials that show whether a network can be evaluated on images of these sizes.

    The smallest and the largest sizes that it sees are enough, because a block that takes these
    takes those between them. A window needs no image, because sliding pads smaller images.
    """
    reasons: dict[Size, str] = {}
    if "sliding" in evaluate.protocols:
        reasons[evaluate.window] = "for a window of {}x{}".format(*evaluate.window)
    for size in dict.fromkeys(sizes):
        for protocol in evaluate.protocols:
            for input_size in list_input_sizes(size, protocol, evaluate):
                reason = "for an image of {}x{}".format(*size)
                if input_size != size:
                    reason += f", of which {protocol} shows {input_size[0]}x{input_size[1]}"
                reasons.setdefault(input_size, reason)
    measures = (lambda s: s[0], lambda s: s[1], lambda s: s[0] * s[1])
    extremes = (
        {pick(reasons, key=by) for pick in (min, max) for by in measures} if reasons else set()
    )
    return [Trial(1, size, False, reason) for size, reason in reasons.items() if size in extremes]
