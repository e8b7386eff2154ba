"""The blocks' cost: the paper's figure of operation times, and cost against the positions N."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.measuring.process import MEASURED
from pipeline.reporting.figures import style
from pipeline.reporting.tables.blocks import BLOCK_NAMES, name_mode, name_size
from pipeline.settings.records import BlockCosts, OperationTimes

COLOURS = {"nb": style.RED, "apnb": style.BLUE}
LINES = {"plain": "--", "fast": "-"}
AXES = {"ms": "time of the forward pass (ms)", "mb": "peak memory (MB)"}


def list_operations(files: list[BlockCosts]) -> pd.DataFrame:
    """Return the ms of each operation in the plain form, by device, number type, input, block."""
    return pd.DataFrame(
        [
            {
                "device": ", ".join(name_mode(row)),
                "input": name_size(row.size),
                "block": row.block,
                "status": row.status,
                **_list_milliseconds(row.measured),
            }
            for file in files
            for row in sorted(file.operations, key=lambda r: (name_mode(r), math.prod(r.size)))
        ],
    )


def _list_milliseconds(times: OperationTimes | None) -> dict[str, float]:
    return {name: 1e3 * value for name, value in times.operations.items()} if times else {}


def list_costs(files: list[BlockCosts]) -> pd.DataFrame:
    """Return ms and MB by device, number type, block, form and number of positions N."""
    return pd.DataFrame(
        [
            {
                "device": ", ".join(name_mode(row)),
                "block": row.block,
                "form": row.form,
                "positions": math.prod(row.size),
                "ms": 1e3 * row.measured.seconds,
                "mb": row.measured.peak_bytes / 1e6,
                "fit": file.settings.curve.fit,
            }
            for file in files
            for row in file.curve
            if row.measured
        ],
        columns=["device", "block", "form", "positions", "ms", "mb", "fit"],
    )


def fit_exponent(positions: "pd.Series[int]", values: "pd.Series[float]", points: int) -> float:
    """Return the slope through the last points on log axes; nan below two points."""
    x, y = positions.to_numpy()[-points:], values.to_numpy()[-points:]
    x, y = x[y > 0], y[y > 0]
    if len(x) < 2:
        return math.nan
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def fit_exponents(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the fitted exponents of time and memory for each curve."""
    keys = ["device", "block", "form"]
    rows = [
        dict(zip(keys, key, strict=True))
        | {"sizes": min(len(curve), int(curve["fit"].iloc[0]))}
        | {
            f"{unit}_exponent": fit_exponent(
                curve["positions"], curve[unit], int(curve["fit"].iloc[0])
            )
            for unit in AXES
        }
        for key, curve in frame.groupby(keys, sort=False)
    ]
    return pd.DataFrame(rows, columns=[*keys, "sizes", *(f"{unit}_exponent" for unit in AXES)])


def draw_operations(frame: pd.DataFrame) -> Figure:
    """Draw stacked bars of NB and APNB; each device has its own axes, as GPUs are far faster."""
    devices = list(dict.fromkeys(frame["device"])) or ["not measured"]
    bars = [max(1, int((frame["device"] == device).sum())) for device in devices]
    figure, grid = plt.subplots(
        len(devices),
        figsize=(7.2, 0.9 + 0.7 * len(devices) + 0.36 * sum(bars)),
        height_ratios=bars,
        layout="constrained",
        squeeze=False,
    )
    groups = frame.columns[4:]
    for device, axes in zip(devices, grid[:, 0], strict=True):
        own = frame[frame["device"] == device]
        left = np.zeros(len(own))
        for number, group in enumerate(groups):
            width = own[group].fillna(0).to_numpy()
            colour = style.COLOURS[number % len(style.COLOURS)]
            axes.barh(range(len(own)), width, left=left, label=group, color=colour, height=0.7)
            left += width
        names = [
            f"{BLOCK_NAMES[block]}, {size}" + ("" if status == MEASURED else f": {status}")
            for size, block, status in own[["input", "block", "status"]].to_numpy()
        ]
        axes.set_yticks(range(len(own)), names)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_title(device)
    grid[-1, 0].set_xlabel("time of the forward pass, plain form (ms)")
    handles = grid[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=max(1, -(-len(groups) // 2)))
    return figure


def draw_costs(frame: pd.DataFrame) -> Figure:
    """Draw time and memory against N on log axes with the exponents, a row for each device."""
    devices = list(dict.fromkeys(frame["device"])) or ["not measured"]
    figure, grid = plt.subplots(
        len(devices), 2, figsize=(8, 3.4 * len(devices)), layout="constrained", squeeze=False
    )
    slopes = fit_exponents(frame).set_index(["device", "block", "form"])
    for device, row in zip(devices, grid, strict=True):
        own = frame[frame["device"] == device]
        for (unit, title), axes in zip(AXES.items(), row, strict=True):
            for (block, form), curve in own.groupby(["block", "form"], sort=False):
                slope = slopes.loc[(device, block, form), f"{unit}_exponent"]
                power = "" if math.isnan(slope) else f": N^{slope:.2f}"
                axes.plot(
                    curve["positions"],
                    curve[unit],
                    LINES[form],
                    color=COLOURS[block],
                    marker="o",
                    markersize=3,
                    label=f"{BLOCK_NAMES[block]}, {form}{power}",
                )
            axes.set(xscale="log", yscale="log", xlabel="positions N", ylabel=title, title=device)
            if len(own):
                axes.legend()
    return figure
