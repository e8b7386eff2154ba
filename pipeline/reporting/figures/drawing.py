"""Draw all figures for which there are data."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from pipeline.reporting.figures import accuracy, costs, curves
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.provenance import Source
from pipeline.reporting.published import FIGURE_FINDERS


class Drawing(NamedTuple):
    """A figure with its data.

    Attributes:
        name: Its files' name without a suffix.
        frame: Its data.
        figure: The figure.
        records: The records of what was measured for it.
    """

    name: str
    frame: pd.DataFrame
    figure: Figure
    records: Sequence[Source]


def draw_figures(inputs: Inputs, losses: pd.DataFrame | None) -> Iterator[Drawing]:
    """Yield the figures one by one; a figure without data is left out.

    Args:
        inputs: The results and costs.
        losses: curves.csv, None if there is no such file.
    """
    yield from _draw_accuracy(inputs)
    if losses is not None:
        frame = curves.average_losses(inputs.settings, losses)
        if len(frame):
            figure = curves.draw(inputs.settings, frame)
            yield Drawing("learning-curves", frame, figure, _collect_records(inputs, frame))
    yield from _draw_costs(inputs)


def _draw_accuracy(inputs: Inputs) -> Iterator[Drawing]:
    settings, results, published = inputs.settings, inputs.results, inputs.published
    for table in FIGURE_FINDERS:
        frame = accuracy.rank_variants(settings, results, published, table)
        if len(frame):
            figure = accuracy.draw_order(frame)
            yield Drawing(f"order-{table}", frame, figure, _collect_records(inputs, frame))
    frame = accuracy.select_sampling(settings, results, published)
    if len(frame):
        figure = accuracy.draw_sampling(frame)
        yield Drawing("miou-against-anchors", frame, figure, _collect_records(inputs, frame))
    if inputs.networks is not None:
        frame = accuracy.match_costs(settings, results, inputs.networks)
        if len(frame):
            records = [*_collect_records(inputs, frame), inputs.networks]
            yield Drawing("miou-against-cost", frame, accuracy.draw_cost(frame), records)
    frame = accuracy.compare_classes(settings, results)
    if len(frame):
        figure = accuracy.draw_by_class(frame)
        yield Drawing("iou-by-class", frame, figure, _collect_records(inputs, frame))


def _draw_costs(inputs: Inputs) -> Iterator[Drawing]:
    operations, cost = costs.list_operations(inputs.blocks), costs.list_costs(inputs.blocks)
    if len(operations):
        figure = costs.draw_operations(operations)
        yield Drawing("operation-times", operations, figure, inputs.blocks)
    if len(cost):
        keys = ["device", "block", "form"]
        frame = cost.drop(columns="fit").merge(costs.fit_exponents(cost), on=keys)
        figure = costs.draw_costs(cost)
        yield Drawing("cost-against-positions", frame, figure, inputs.blocks)


def _collect_records(inputs: Inputs, frame: pd.DataFrame) -> list[Source]:
    """Return the records of the runs of the variants in the frame."""
    names = dict.fromkeys(frame["variant"])
    return [run.record for name in names for run in inputs.results[name]]
