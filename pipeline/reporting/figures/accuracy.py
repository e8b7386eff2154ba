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
from pipeline.settings.fields import TableName
from pipeline.settings.records import NetworkCosts
from pipeline.settings.schema import Params

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
    draw_points(right, frame["miou"], places, frame, style.BLUE)
    left.set_yticks(places, list(frame["variant"]))
    left.set(title="published", xlabel="mIoU (%)", ylim=(-0.6, len(frame) - 0.4))
    right.set(title="measured: mean, 95 % interval, each seed", xlabel="mIoU (%)")
    left.xaxis.set_major_locator(MaxNLocator(5))
    return figure


def draw_points(axes: Axes, x: Any, y: Any, frame: pd.DataFrame, colour: str, **more: Any) -> None:
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
    """Draw mIoU against GFLOPs, with a line through the rows that no cheaper row reaches."""
    figure, axes = plt.subplots(figsize=(7.2, 3.6), layout="constrained")
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
                markersize=4.5,
                capsize=2.5,
                label=name,
            )
    front = select_front(frame)
    axes.plot(front["gflops"], front["miou"], "-", color=style.INK, lw=0.8, zorder=1)
    ends = front[["low", "high"]].apply(lambda end: end.fillna(front["miou"]))
    for number, (name, x, low, high) in enumerate(
        zip(front["variant"], front["gflops"], ends["low"], ends["high"], strict=True)
    ):
        place, offset, side = ((high, 4, "bottom"), (low, -4, "top"))[number % 2]
        axes.annotate(
            name,
            (x, place),
            (0, offset),
            textcoords="offset points",
            ha="center",
            va=side,
            fontsize=8,
        )
    axes.set(xlabel="GFLOPs of one image's forward pass", ylabel="mIoU (%)")
    axes.margins(y=0.12)
    figure.legend(loc="outside upper center", ncols=len(FAMILIES))
    return figure


def select_front(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a higher mIoU than every row that costs no more, by their cost."""
    ordered = frame.sort_values(["gflops", "miou"], ascending=[True, False], kind="stable")
    best = ordered["miou"].cummax().shift(fill_value=-np.inf)
    return ordered[ordered["miou"] > best]


def compare_classes(settings: Params, results: Results) -> pd.DataFrame:
    """Return the IoU in percent for each class and each of baseline, APNB and full network."""
    rows = []
    for pair in (measured.BASELINE, measured.APNB, measured.ANN):
        for name in measured.list_published_variants(settings, pair)[:1]:
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
        draw_points(axes, rows["iou"], places - 0.2 * (number - 1), rows, colour, label=name, lw=1)
    axes.set_yticks(places, classes)
    axes.set(xlabel="IoU (%), mean and 95 % interval", ylim=(-0.6, len(classes) - 0.4))
    figure.legend(loc="outside upper center", ncols=3)
    return figure
