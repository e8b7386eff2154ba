"""The speed of the fast form, as docs/performance.md shows it: parts of the plain form's cost."""

import pandas as pd

from pipeline.reporting.columns import Column, Number, Row, Table
from pipeline.reporting.inputs import Overview
from pipeline.reporting.rendering import to_markdown
from pipeline.reporting.tables.blocks import BLOCK_NAMES, Call, list_measured
from pipeline.settings.records import BlockCosts

CALL: Call = "forward+backward"
COLUMNS = (
    Column("device"),
    Column("block"),
    Number("time", "time", ".2f"),
    Number("memory", "peak memory", ".2f"),
)


def render_speed(overview: Overview) -> str:
    """Return time and memory of each block's fast form as parts of the plain form's, in Markdown.

    They are of the smallest size in each file of reports/efficiency, in float32.
    """
    rows = [row for file in overview.blocks for row in _compare_forms(file)]
    return to_markdown(Table(pd.DataFrame(rows, columns=[c.key for c in COLUMNS]), COLUMNS))


def _compare_forms(file: BlockCosts) -> list[Row]:
    size = file.settings.sizes[0]
    own = [r for r in file.blocks if (r.size, r.call, r.precision) == (size, CALL, "float32")]
    rows: list[Row] = []
    for device in dict.fromkeys(row.device for row in own):
        costs = {(r.block, r.form): list_measured(r.measured) for r in own if r.device == device}
        for (block, form), (seconds, peak_bytes) in costs.items():
            if form == "fast":
                plain = costs[block, "plain"]
                ratios = {"time": seconds / plain[0], "memory": peak_bytes / plain[1]}
                rows.append({"device": device, "block": BLOCK_NAMES[block]} | ratios)
    return rows
