"""mIoU against the paper's, the number of anchors, the cost, and by class."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ann import anchors
from pipeline.reporting import measured
from pipeline.reporting.figures import style
from pipeline.reporting.published import FIGURE_FINDERS, find_sampling_figure
from pipeline.reporting.results import Results
from pipeline.reporting.statistics import Interval, mean
from pipeline.settings.records import NetworkCosts
from pipeline.settings.schema import Params, TableName

METHODS = {
    "random": style.GREY,
    "max": style.GREEN,
    "average": style.PURPLE,
    "pyramid random": style.RED,
    "pyramid max": style.ORANGE,
    "pyramid average": style.BLUE,
}
MOST_CLASSES = 40  # in the figure; its data have all
FAMILIES = {  # by what a block attends to
    "no non-local block": style.GREY,
    "every position (NB, FNB)": style.RED,
    "anchors (APNB, AFNB)": style.BLUE,
    "other": style.PURPLE,
}


def _compute_interval(results: Results, variant: str) -> Interval:
    return mean([r.miou for r in results[variant]])


def name_family(settings: Params, variant: str) -> str:
    """Return which of FAMILIES a variant belongs to."""
    v = settings.variants[variant]
    parts = {v.fusion, v.context} - {"none", "common"}
    for parts_of, name in zip(
        (set(), {"nb", "fnb"}, {"apnb", "afnb"}), list(FAMILIES)[:3], strict=True
    ):
        if parts <= parts_of:
            return name
    return "other"


def rank_variants(
    settings: Params, results: Results, published: measured.Published, table: TableName
) -> pd.DataFrame:
    """Return a row for each measured variant that the paper has, in the paper's order."""
    find_figure = FIGURE_FINDERS[table]
    rows = []
    for name in settings.tables.get(table, []):
        value = find_figure(settings.variants[name], published)
        if value is not None and results[name]:
            interval = _compute_interval(results, name)
            seeds = " ".join(f"{r.miou:.4f}" for r in results[name])
            rows.append((name, value, *interval, seeds))
    columns = ["variant", "published", "miou", "low", "high", "by_seed"]
    return pd.DataFrame(rows, columns=columns).sort_values("published", kind="stable")


def draw_order(frame: pd.DataFrame) -> Figure:
    """Draw the rows from the paper's lowest to its highest, once published and once measured."""
    height = 1.0 + 0.3 * len(frame)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(7.2, height), sharey=True, layout="constrained"
    )
    places = np.arange(len(frame))
    left.plot(frame["published"], places, "D", color=style.ORANGE, markersize=5)
    for place, values in zip(places, frame["by_seed"], strict=True):
        seeds = [float(v) for v in values.split()]
        right.plot(seeds, [place] * len(seeds), "|", color=style.GREY, markersize=8)
    _draw_points(right, frame["miou"], places, frame, style.BLUE)
    left.set_yticks(places, list(frame["variant"]))
    left.set(title="published", xlabel="mIoU (%)", ylim=(-0.6, len(frame) - 0.4))
    right.set(title="measured: mean, 95 % interval, each seed", xlabel="mIoU (%)")
    left.xaxis.set_major_locator(MaxNLocator(5))
    return figure


def _draw_points(axes: Axes, x: Any, y: Any, frame: pd.DataFrame, colour: str, **more: Any) -> None:
    """Draw means with their intervals along x."""
    reach = np.nan_to_num(np.array([x - frame["low"], frame["high"] - x]).clip(min=0))
    axes.errorbar(x, y, xerr=reach, fmt="o", color=colour, markersize=4.5, capsize=2.5, **more)


def select_sampling(
    settings: Params, results: Results, published: measured.Published
) -> pd.DataFrame:
    """Return a row for each measured variant of the sampling table: S, mIoU, published mIoU."""
    rows = []
    for name in settings.tables.get("sampling", []):
        variant = settings.variants[name]
        if results[name] and variant.pool_sizes:
            figure = find_sampling_figure(variant, published)
            method = (variant.sampling or "").replace("_", " ")
            interval = _compute_interval(results, name)
            rows.append((name, method, anchors(variant.pool_sizes), *interval, figure))
    columns = ["variant", "sampling", "anchors", "miou", "low", "high", "published"]
    return pd.DataFrame(rows, columns=columns)


def draw_sampling(frame: pd.DataFrame) -> Figure:
    """Draw mIoU against the number of anchors S, with a colour for each method."""
    figure, grid = plt.subplots(1, 2, figsize=(7.2, 3.4), layout="constrained")
    for number, (method, own) in enumerate(frame.groupby("sampling", sort=False)):
        own, colour = own.sort_values("anchors"), METHODS[str(method)]
        shift = 1 + 0.03 * (number - 2)  # so that intervals at one S stand side by side
        reach = [own["miou"] - own["low"], own["high"] - own["miou"]]
        grid[0].errorbar(
            own["anchors"] * shift,
            own["miou"],
            yerr=np.nan_to_num(np.array(reach).clip(min=0)),
            fmt="o-",
            color=colour,
            markersize=4.5,
            capsize=2.5,
            linewidth=1,
            label=method,
        )
        grid[1].plot(own["anchors"], own["published"], "D-", color=colour, markersize=4.5, lw=1)
    for axes, title in zip(grid, ("measured, 95 % interval", "published"), strict=True):
        axes.set(title=title, xlabel="anchors S", ylabel="mIoU (%)", xscale="log")
        ticks = sorted(set(frame["anchors"]))
        axes.set_xticks(ticks, [str(t) for t in ticks], minor=False)
        axes.minorticks_off()
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def match_costs(settings: Params, results: Results, networks: NetworkCosts) -> pd.DataFrame:
    """Return a row for each measured variant: GFLOPs of one image at the crop, and mIoU."""
    rows = []
    for row in networks.networks:
        name, own = row.variant, row.profile == settings.profile
        own = own and row.call == "forward" and row.size == networks.crop
        if own and results.get(name):
            interval = _compute_interval(results, name)
            rows.append((name, name_family(settings, name), row.flops / 1e9, *interval))
    columns = ["variant", "family", "gflops", "miou", "low", "high"]
    return pd.DataFrame(rows, columns=columns).drop_duplicates("variant")


def draw_cost(frame: pd.DataFrame) -> Figure:
    """Draw mIoU against GFLOPs; the names stand in a column with a line to each point."""
    figure, axes = plt.subplots(
        figsize=(7.2, max(3.6, 0.6 + 0.24 * len(frame))), layout="constrained"
    )
    for name, colour in FAMILIES.items():
        own = frame[frame["family"] == name]
        if len(own):
            reach = np.array([own["miou"] - own["low"], own["high"] - own["miou"]])
            reach = np.nan_to_num(reach.clip(min=0))
            axes.errorbar(
                own["gflops"],
                own["miou"],
                yerr=reach,
                fmt="o",
                color=colour,
                capsize=2.5,
                label=name,
            )
    low, high = axes.get_ylim()
    heights = spread_values(frame["miou"].to_numpy(), 1.04 * (high - low) / max(1, len(frame)))
    edge = frame["gflops"].max() + 0.06 * np.ptp(frame["gflops"])
    for (_, row), height in zip(frame.iterrows(), heights, strict=True):
        colour = FAMILIES[row["family"]]
        axes.plot([row["gflops"], edge], [row["miou"], height], color=colour, lw=0.5, alpha=0.6)
        axes.annotate(f" {row['variant']}", (edge, height), va="center", fontsize=8)
    axes.set(xlabel="GFLOPs of one image's forward pass", ylabel="mIoU (%)")
    axes.set_xlim(right=edge + 0.22 * (edge - frame["gflops"].min()))
    figure.legend(loc="outside upper center", ncols=len(FAMILIES))
    return figure


def spread_values(values: Any, gap: float) -> Any:
    """Return the values in their order, moved as little as makes neighbours `gap` apart."""
    ranks = np.argsort(values, kind="stable")
    offsets = gap * np.arange(len(values))
    blocks: list[list[float]] = []  # sum and number of values less their offsets
    for target in values[ranks] - offsets:  # the nearest rising sequence
        blocks.append([target, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, number = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += number
    level = np.concatenate([[total / number] * int(number) for total, number in blocks] or [[]])
    spread = np.empty(len(values))
    spread[ranks] = level + offsets
    return spread


def compare_classes(settings: Params, results: Results) -> pd.DataFrame:
    """Return the IoU in percent for each class and each of baseline, APNB and full network."""
    rows = []
    for pair in (measured.BASELINE, measured.APNB, measured.ANN):
        for name in measured.as_published(settings, pair)[:1]:
            scores = [r.scores.first.class_iou for r in results[name]]
            for label in scores[0] if scores else []:
                values = [100 * x for s in scores if (x := s[label]) is not None]
                rows.append((label, name, *mean(values)))
    return pd.DataFrame(rows, columns=["class", "variant", "iou", "low", "high"])


def draw_by_class(frame: pd.DataFrame) -> Figure:
    """Draw a line for each class, a point for each network; the most different ones if many."""
    wide = frame.pivot_table(index="class", columns="variant", values="iou", sort=False)
    span = (wide.max(axis=1) - wide.min(axis=1)).sort_values(ascending=False, kind="stable")
    classes = [c for c in wide.index if c in set(span.index[:MOST_CLASSES])][::-1]
    figure, axes = plt.subplots(figsize=(7.2, 1 + 0.24 * len(classes)), layout="constrained")
    places = np.arange(len(classes))
    for number, (name, own) in enumerate(frame.groupby("variant", sort=False)):
        rows = own.set_index("class").reindex(classes)
        colour = (style.GREY, style.ORANGE, style.BLUE)[number % 3]
        _draw_points(axes, rows["iou"], places - 0.2 * (number - 1), rows, colour, label=name, lw=1)
    axes.set_yticks(places, classes)
    axes.set(xlabel="IoU (%), mean and 95 % interval", ylim=(-0.6, len(classes) - 0.4))
    figure.legend(loc="outside upper center", ncols=3)
    return figure
