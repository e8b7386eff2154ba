"""What the fusion of each row adds: its scores on both splits, and what they owe to the context."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.reporting.figures import style
from pipeline.reporting.figures.accuracy import draw_points
from pipeline.reporting.statistics import mean

SPLITS = {"miou_train": ("training split", style.GREY), "miou": ("validation split", style.BLUE)}
LOSSES = {
    "miou_image_mean": ("by its mean over the image", style.ORANGE),
    "miou_split_mean": ("by its mean over all images", style.RED),
}


def draw(frame: pd.DataFrame) -> Figure:
    """Draw a row for each variant.

    Args:
        frame: What `python -m pipeline fusion` measures: a row for each variant and seed, mIoU in
            percent.
    """
    rows = list(dict.fromkeys(frame["variant"]))[::-1]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(7.2, 1.3 + 0.35 * len(rows)), sharey=True, layout="constrained"
    )
    for place, row in enumerate(rows):
        own = frame[frame["variant"] == row]
        for number, (column, (label, colour)) in enumerate(SPLITS.items()):
            _draw_mean(left, own[column], place + 0.16 * (0.5 - number), label, colour)
        for number, (column, (label, colour)) in enumerate(LOSSES.items()):
            change = own[column] - own["miou"]
            if change.notna().any():
                _draw_mean(right, change, place + 0.16 * (0.5 - number), label, colour)
    right.axvline(0, color=style.GREY, linewidth=0.8)
    left.set_yticks(range(len(rows)), rows)
    left.set(title="mIoU (%)", ylim=(-0.6, len(rows) - 0.4))
    right.set(title="change if the context is replaced")
    for axes in (left, right):
        handles, labels = axes.get_legend_handles_labels()
        known = dict(zip(labels, handles, strict=True))
        axes.legend(known.values(), known.keys(), loc="upper center", bbox_to_anchor=(0.5, -0.12))
    return figure


def _draw_mean(axes: Axes, values: "pd.Series[float]", y: float, label: str, colour: str) -> None:
    """Draw each seed, and the mean with its 95 % interval."""
    average = pd.DataFrame([mean(list(values))])
    axes.plot(values, [y] * len(values), "|", color=colour, markersize=8, alpha=0.6)
    draw_points(axes, average["value"], [y], average, colour, label=label)
