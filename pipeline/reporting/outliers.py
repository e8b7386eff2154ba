"""Collapsed runs: far below the other seeds of their row, with the classes that they lost."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from pipeline.reporting.columns import Column, Number, Row, Table
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.sections import Section
from pipeline.settings.records import RunLine

FALL = 5.0  # points of mIoU below the row's median
LOSS = 20.0  # points of a class's IoU below the row's median
INTRO = (
    f"These runs are more than {FALL:g} points of mIoU below the median of their row. They stay in "
    f"every mean and every test. *lost classes*: their IoU is more than {LOSS:g} points below the "
    "row's median."
)
DRAWN = (
    "In the drawn scenes wall, fence, person, rider, bicycle and motorcycle all hang on one cue: "
    "what most of the posts at the other end are. A run that did not learn to look at the posts "
    "loses these classes together. At a learning rate of 0.005, not 0.003, more runs fell."
)
COLUMNS = (
    Column("run"),
    Number("miou", "mIoU", ".1f"),
    Number("median", "median of the row", ".1f"),
    Column("lost", "lost classes"),
)


def build_section(inputs: Inputs) -> Section | None:
    """Return a row for each run that fell; None without any."""
    rows = list(_list_falls(inputs))
    if not rows:
        return None
    table = Table(pd.DataFrame(rows), COLUMNS)
    notes = DRAWN if inputs.settings.embedded else ""
    return Section("falls", "Collapsed runs", intro=INTRO, table=table, notes=notes)


def _list_falls(inputs: Inputs) -> Iterator[Row]:
    for name, runs in inputs.results.items():
        median = float(np.median([run.miou for run in runs])) if len(runs) > 2 else np.nan
        for run in runs:
            if run.miou < median - FALL:
                lost = ", ".join(_list_lost(run, runs))
                yield {
                    "run": f"{name}-{run.seed}",
                    "miou": run.miou,
                    "median": median,
                    "lost": lost,
                }


def _list_lost(run: RunLine, runs: list[RunLine]) -> Iterator[str]:
    for label, own in run.scores.first.class_iou.items():
        known = [x for r in runs if (x := r.scores.first.class_iou.get(label)) is not None]
        if own is not None and 100 * (np.median(known) - own) > LOSS:
            yield f"{label} ({100 * own:.0f} of {100 * np.median(known):.0f})"
