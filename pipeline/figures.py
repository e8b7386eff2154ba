"""Stage figures: what the tables say, drawn.

    python -m pipeline.figures

From reports/ alone. Writes reports/figures: each figure as SVG and PDF, its data as CSV. A figure
without data is left out; the report says what it needs.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd
import yaml
from matplotlib.figure import Figure

from pipeline.collect import CURVES, RESULTS
from pipeline.common import cli, params
from pipeline.common.files import read_json, whole_folder, write_json
from pipeline.common.paths import EFFICIENCY, FIGURES, NETWORKS, PUBLISHED
from pipeline.plotting import accuracy, costs, curves, style
from pipeline.reporting.efficiency import read as read_efficiency
from pipeline.reporting.figures import SOURCE, inputs
from pipeline.reporting.provenance import line, origin
from pipeline.reporting.results import read


class Drawn(NamedTuple):
    """A figure, its data, and the records of what was measured."""

    name: str
    frame: pd.DataFrame
    figure: Figure
    records: list[dict[str, Any]]


def of_runs(settings: params.Params) -> Iterator[Drawn]:
    """The figures of what was trained."""
    if not RESULTS.exists():
        return
    results = read(RESULTS, list(settings.variants))
    published = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))

    def drawn(name: str, frame: pd.DataFrame, figure: Figure, *more: dict[str, Any]) -> Drawn:
        shown = dict.fromkeys(frame["variant"])
        return Drawn(name, frame, figure, [r.record for v in shown for r in results[v]] + [*more])

    for table in accuracy.PUBLISHED:
        frame = accuracy.order(settings, results, published, table)
        if len(frame):
            yield drawn(f"order-{table}", frame, accuracy.draw_order(frame))
    frame = accuracy.sampling(settings, results, published)
    if len(frame):
        yield drawn("miou-against-anchors", frame, accuracy.draw_sampling(frame))
    if NETWORKS.exists():
        networks = read_json(NETWORKS)
        frame = accuracy.cost(settings, results, networks)
        if len(frame):
            yield drawn("miou-against-cost", frame, accuracy.draw_cost(frame), networks)
    frame = accuracy.by_class(settings, results)
    if len(frame):
        yield drawn("iou-by-class", frame, accuracy.draw_by_class(frame))
    if CURVES.exists():
        frame = curves.losses(settings, pd.read_csv(CURVES))
        if len(frame):
            yield drawn("learning-curves", frame, curves.draw(settings, frame))


def of_blocks() -> Iterator[Drawn]:
    """The figures of what the blocks cost."""
    files = read_efficiency(EFFICIENCY)
    operations, cost = costs.operation_times(files), costs.costs(files)
    if len(operations):
        yield Drawn("operation-times", operations, costs.draw_operations(operations), files)
    if len(cost):
        merged = cost.drop(columns="fit").merge(
            costs.exponents(cost), on=["device", "block", "form"]
        )
        yield Drawn("cost-against-positions", merged, costs.draw_costs(cost), files)


def main() -> None:
    settings = params.load()
    with whole_folder(FIGURES) as folder:
        for name, frame, figure, records in (*of_runs(settings), *of_blocks()):
            style.save(figure, frame, folder / name, line(origin(records)))
        write_json(folder / SOURCE, inputs())
    print(f"the figures are in {FIGURES}")


if __name__ == "__main__":
    cli.run(main)
