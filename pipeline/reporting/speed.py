"""The speed of the fast form, as docs/performance.md shows it, beside the plain form's."""

import pandas as pd

from pipeline.reporting.columns import Column, Number, Table
from pipeline.reporting.inputs import Overview
from pipeline.reporting.rendering import to_markdown
from pipeline.reporting.tables.blocks import BLOCK_NAMES, PASSES, build_frame

COLUMNS = (
    Column("device"),
    Column("block", format=lambda row: BLOCK_NAMES[row["block"]]),
    Number("ms", "ms", ".1f"),
    Number("mb", "peak MB", ".0f"),
    Number("time", "time / plain", ".2f"),
    Number("memory", "memory / plain", ".2f"),
)


def render_speed(overview: Overview) -> str:
    """Return time and memory of each block's fast form, and their ratio to the plain form's.

    In Markdown. They are of a forward and backward pass in float32, with each device's first input.
    """
    frame = build_frame(overview.blocks, overview.published["efficiency"])
    frame = frame[frame["precision"] == "float32"]
    frame = frame[frame["input"] == frame.groupby("device")["input"].transform("first")]
    forms = {form: own.set_index(["device", "block"]) for form, own in frame.groupby("form")}
    both = PASSES["forward+backward"]
    values = {}
    for unit, ratio in (("ms", "time"), ("mb", "memory")):
        values[unit] = forms["fast"][f"{both}_{unit}"]
        values[ratio] = values[unit] / forms["plain"][f"{both}_{unit}"]
    return to_markdown(Table(pd.DataFrame(values).reset_index(), COLUMNS))
