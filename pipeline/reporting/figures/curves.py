"""Learning curves: the loss of each row of the ablation, with a band over its seeds."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from pipeline.reporting import measured
from pipeline.reporting.figures import style
from pipeline.settings.schema import Params

COLUMNS, PARTS = 3, 40  # panels a row; points of a curve, each the mean of a part of the training


def average_losses(settings: Params, curves: pd.DataFrame) -> pd.DataFrame:
    """Return the mean, lowest and highest loss by variant of the ablation and part of training."""
    own = curves[curves["variant"].isin(settings.tables.get("ablation", []))].copy()
    last = max(1, own["iteration"].max()) if len(own) else 1
    width = -(-last // PARTS)
    own["iteration"] = (own["iteration"] - 1) // width * width + width / 2
    by_seed = own.groupby(["variant", "iteration", "seed"], sort=False)["loss"].mean()
    summary = by_seed.groupby(["variant", "iteration"], sort=False).agg(["mean", "min", "max"])
    return summary.reset_index()


def draw(settings: Params, frame: pd.DataFrame) -> Figure:
    """Draw a panel for each variant, with the baseline in grey behind the others."""
    names = list(dict.fromkeys(frame["variant"]))
    rows = -(-len(names) // COLUMNS)
    figure, grid = plt.subplots(
        rows,
        COLUMNS,
        figsize=(7.2, 0.4 + 1.7 * rows),
        sharex=True,
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    baselines = measured.list_published_variants(settings, measured.BASELINE)[:1]
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for name, axes in zip(names, grid.flat, strict=False):
        behind = [b for b in baselines if b != name]
        for variant, colour in [*((b, style.GREY) for b in behind), (name, style.BLUE)]:
            own = frame[frame["variant"] == variant]
            axes.fill_between(
                own["iteration"], own["min"], own["max"], color=colour, alpha=0.25, lw=0
            )
            axes.plot(own["iteration"], own["mean"], color=colour, lw=1.2)
        axes.set_title(name)
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
        ticks = [t for t in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10) if _within(frame, t)]
        axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    figure.supxlabel("iteration", fontsize=9)
    figure.supylabel("training loss", fontsize=9)
    return figure


def write_variant(curves: pd.DataFrame, file: Path, source: str) -> None:
    """Write the losses of one variant as an SVG, a line for each seed.

    Args:
        curves: Its rows of curves.csv.
        file: The file to write.
        source: Where they come from.
    """
    figure, axes = plt.subplots(figsize=(7.2, 2.8), layout="constrained")
    width = max(1, -(-curves["iteration"].max() // PARTS))
    for number, (seed, own) in enumerate(curves.groupby("seed", sort=True)):
        part = (own["iteration"] - 1) // width
        mean = own.groupby(part)[["iteration", "loss"]].mean()
        colour = style.COLOURS[number % len(style.COLOURS)]
        axes.plot(mean["iteration"], mean["loss"], color=colour, lw=1.1, label=f"seed {seed}")
    axes.set(xlabel="iteration", ylabel="training loss", yscale="log")
    axes.yaxis.set_minor_formatter(NullFormatter())
    figure.legend(loc="outside upper center", ncols=5)
    style.save_svg(figure, file, source)
    plt.close(figure)


def _within(frame: pd.DataFrame, value: float) -> bool:
    finite = frame[["min", "max"]].to_numpy()
    finite = finite[np.isfinite(finite)]
    return bool(len(finite)) and finite.min() * 0.8 <= value <= finite.max() * 1.25
