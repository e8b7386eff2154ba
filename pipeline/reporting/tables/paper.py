"""The paper's two tables, ablation and sampling, with our values beside the published ones."""

import math
from collections.abc import Iterator

import pandas as pd

from ann import anchors
from pipeline.reporting import provenance
from pipeline.reporting.columns import Column, Number, Table
from pipeline.reporting.comparable import explain_comparability
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.published import DAGGER_NOTE, FIGURE_FINDERS
from pipeline.reporting.sections import Section, TableFile
from pipeline.reporting.statistics import order
from pipeline.reporting.tables import pairs, rows
from pipeline.settings.fields import TableName
from pipeline.settings.schema import Variant

PAPER_TABLES: tuple[TableName, ...] = ("ablation", "sampling")
DAGGERS = f"{DAGGER_NOTE} Published values: Cityscapes val, ResNet-101, single scale."
READING = (
    "mIoU in percent over the whole validation split, from one confusion matrix, after the last "
    "iteration: mean ± standard deviation over the seeds."
)


def _compare(inputs: Inputs, name: TableName) -> tuple[list[Variant], pd.DataFrame]:
    """Return a table's variants, and a row for each with the paper's figure."""
    settings, published = inputs.settings, inputs.published
    variants = [settings.variants[row] for row in settings.tables[name]]
    figures = [FIGURE_FINDERS[name](v, published) for v in variants]
    status = str(published[f"cityscapes_val_{name}"]["status"])
    return variants, rows.compare_rows(inputs, name, figures, status)


def build_ablation(inputs: Inputs) -> pd.DataFrame:
    """Return the paper's ablation: a row for each variant; mIoU in percent."""
    variants, frame = _compare(inputs, "ablation")
    frame.insert(1, "model", [rows.name_model(v) for v in variants])
    return frame


def build_sampling(inputs: Inputs) -> pd.DataFrame:
    """Return the paper's table of sampling methods and numbers of anchors; mIoU in percent."""
    variants, frame = _compare(inputs, "sampling")
    pools = [v.pool_sizes or [] for v in variants]
    frame.insert(1, "sampling", [(v.sampling or "none").replace("_", " ") for v in variants])
    frame.insert(2, "pool_sizes", [" ".join(map(str, p)) for p in pools])
    frame.insert(3, "anchors", [anchors(p) for p in pools])
    return frame


_BUILDERS = {"ablation": build_ablation, "sampling": build_sampling}
_OWN_COLUMNS = {
    "ablation": (Column("model"),),
    "sampling": (Column("sampling"), Column("pool_sizes", "n"), Number("anchors", "S")),
}


def build_table(inputs: Inputs, name: TableName) -> Table:
    """Return one of the paper's tables."""
    frame = _BUILDERS[name](inputs)
    scores, figures = rows.score_columns(frame), rows.published_columns(frame)
    return Table(frame, (Column("variant"), *_OWN_COLUMNS[name], *scores, *figures))


def shorten_table(table: Table) -> Table:
    """Return the columns that a summary shows: the scores, their spread and the paper's figure."""
    own = [c for c in table.columns if c.key in ("variant", "model", "sampling", "anchors")]
    columns = (
        *own,
        Number("miou", "mIoU", ".1f", rows.UNMEASURED),
        Number("sd", format=".1f"),
        Number("n"),
        Number("published", "paper mIoU", rows.format_published),
    )
    return Table(table.frame, columns)


def rank_rows(frame: pd.DataFrame) -> float:
    """Return Kendall's tau-b of the measured and the paper's order of the rows."""
    known = frame[(frame["n"] > 0) & frame["published"].notna()]
    return order(list(known["miou"]), list(known["published"]))


def describe_order(tau: float) -> str:
    """Say how far the measured order is the paper's."""
    if math.isnan(tau):
        return "**Order.** Too few rows are measured to compare their order with the paper's."
    return (
        "**Order.** Kendall's tau-b between the measured means and the paper's figures is "
        f"{tau:.2f}. 1 is the paper's order, 0 no relation, -1 its reverse."
    )


def build_sections(inputs: Inputs) -> Iterator[Section]:
    """Return a section for each of the paper's tables, and one on how to read them."""
    settings = inputs.settings
    for name in settings.tables:
        if name in PAPER_TABLES and name in settings.active.tables:
            yield _build_section(inputs, name)
    yield Section("reading", notes=f"{READING} {DAGGERS}\n\n{rows.INTERVALS}")


def _build_section(inputs: Inputs, name: TableName) -> Section:
    settings, names = inputs.settings, inputs.settings.tables[name]
    table = build_table(inputs, name)
    origin = provenance.find_origin(rows.collect_records(inputs, names))
    tau = rank_rows(table.frame)
    comparison, files = pairs.compare_pairs(inputs.results, name, names, origin)
    body = f"{describe_order(tau)}\n\n{comparison}"
    notes = [
        body.replace("](tables/", "]("),
        READING,
        rows.INTERVALS,
        DAGGERS,
        explain_comparability(settings),
    ]
    return Section(
        name,
        name.capitalize(),
        table=table,
        notes=body,
        origin=origin,
        metrics={} if math.isnan(tau) else {"order": round(tau, 2)},
        files=(TableFile(name, table, "\n\n".join(filter(None, notes)), origin), *files),
    )
