"""What the tables of variants share: scores, differences to the reference row, and columns."""

from collections.abc import Sequence

import pandas as pd

import contexts
from pipeline.reporting import provenance
from pipeline.reporting.columns import Column, Number, Row, Table
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.measured import (
    AFNB,
    ANN,
    APNB,
    BASELINE,
    has_only_paper_keys,
    has_paper_pooling,
)
from pipeline.reporting.published import mark_status
from pipeline.reporting.results import by_seed, spread
from pipeline.reporting.sections import Section, TableFile
from pipeline.reporting.statistics import mean, pair
from pipeline.reporting.tables import pairs
from pipeline.settings.fields import TableName
from pipeline.settings.records import RunRecord
from pipeline.settings.schema import Params, Variant

UNMEASURED = "not measured"
INTERVALS = "**Intervals** are 95 % intervals of Student's t over the seeds."
_REFERENCES = {"ablation": BASELINE, "sampling": ANN, "beyond": APNB, "remedies": AFNB}
_OPTION_NAMES = {  # of a row, in its name
    ("form", "fused"): "fused attention",
    ("output", "residual"): "added to X",
    ("output_norm", True): "batch norm after W_o",
    ("fusion_relu", True): "ReLU after the fusion",
}
_NAMES = {"common": "common fusion", "fnb": "FNB", "afnb": "AFNB", "nb": "NB", "apnb": "APNB"}


def name_model(variant: Variant) -> str:
    """Return the row's name in the paper's ablation."""
    parts = [p for p in (variant.fusion, variant.context) if p != "none"]
    names = [_NAMES.get(p) or str(contexts.load(p).TITLE) for p in parts]
    own = variant.options.model_dump() if variant.options else {}
    differences = [words for (key, value), words in _OPTION_NAMES.items() if own.get(key) == value]
    return ", ".join(["+ " + " + ".join(names), *differences]) if parts else "baseline"


def find_reference(settings: Params, table: TableName) -> str | None:
    """Return the row with which the others are compared.

    It is the baseline of the ablation, the network with the paper's pooling of the sampling table,
    APNB of the table beyond the paper's, and AFNB of the remedies.
    """
    for name in settings.tables[table]:
        variant = settings.variants[name]
        parts = (variant.fusion, variant.context)
        if (
            parts == _REFERENCES[table]
            and has_paper_pooling(variant)
            and has_only_paper_keys(variant)
        ):
            return name
    return None


def compare_rows(
    inputs: Inputs, table: TableName, published: Sequence[float | None], status: str = ""
) -> pd.DataFrame:
    """Compare each variant of a table with the table's reference row.

    Args:
        inputs: What was measured.
        table: The table's name in params.yaml.
        published: The paper's mIoU of each row.
        status: Whether these figures were checked; see published.yaml.

    Returns:
        A row for each variant; mIoU in percent.
    """
    settings, results = inputs.settings, inputs.results
    names = settings.tables[table]
    base = find_reference(settings, table)
    base_figure = published[names.index(base)] if base else None
    rows = []
    for name, figure in zip(names, published, strict=True):
        runs = results[name]
        difference = pair(by_seed(runs), by_seed(results[base])) if base else None
        claim = None if figure is None or base_figure is None else round(figure - base_figure, 1)
        average = mean([r.miou for r in runs])
        reported = difference if difference and name != base else pair({}, {})
        rows.append(
            {
                "variant": name,
                "n": len(runs),
                "seeds": " ".join(str(r.seed) for r in runs),
                "failed": sum(f.variant == name for f in inputs.failures),
                "miou": average.value,
                "sd": spread(runs),
                "ci_low": average.low,
                "ci_high": average.high,
                "reference": base or "",
                **pairs.list_values(reported),
                "published": figure,
                "published_difference": claim,
                "published_status": "" if figure is None else status,
            }
        )
    return pd.DataFrame(rows)


def compare_unpublished(inputs: Inputs, table: TableName) -> pd.DataFrame:
    """Compare the variants of a table that the paper does not have, each with its model's name."""
    settings, names = inputs.settings, inputs.settings.tables[table]
    frame = compare_rows(inputs, table, [None] * len(names))
    frame = frame.drop(columns=["published", "published_difference", "published_status"])
    frame.insert(1, "model", [name_model(settings.variants[name]) for name in names])
    return frame


def format_miou(row: Row) -> str:
    """Return mean ± standard deviation, the latter only with two seeds or more."""
    return f"{row['miou']:.1f}" + (f" ± {row['sd']:.1f}" if row["n"] > 1 else "")


def format_published(row: Row) -> str:
    """Return the published mIoU, with a dagger if it was not checked."""
    return f"{row['published']:.1f}{mark_status(row['published_status'])}"


def _format_seeds(row: Row) -> str:
    text = f"{row['n']} ({row['seeds']})" if row["n"] else "0"
    return text + (f", {row['failed']} failed" if row["failed"] else "")


def _format_claim(row: Row) -> str:
    is_reference = row["variant"] == row["reference"]
    return "" if is_reference else f"{row['published_difference']:+z.1f}"


def score_columns(frame: pd.DataFrame) -> tuple[Column, ...]:
    """Return the columns of what was measured here."""
    base = frame["reference"].iloc[0]
    columns = [
        Number("miou", "mIoU", format_miou, UNMEASURED),
        Number("ci_low", "95 % interval", lambda r: f"{r['ci_low']:.1f} to {r['ci_high']:.1f}"),
        Column("n", "seeds", _format_seeds),
    ]
    if base:
        columns.append(Number("difference", f"to {base}", pairs.format_difference))
    return tuple(columns)


def published_columns(frame: pd.DataFrame) -> tuple[Column, ...]:
    """Return the columns of the paper's figures."""
    base = frame["reference"].iloc[0]
    columns = [Number("published", "paper mIoU", format_published)]
    if base:
        columns.append(Number("published_difference", f"paper to {base}", _format_claim))
    return tuple(columns)


def build_unpublished_section(
    inputs: Inputs, name: TableName, title: str, table: Table, note: str, origin: provenance.Origin
) -> Section:
    """Return the section of a table that the paper does not have, with a file of its pairs.

    Args:
        inputs: What was measured.
        name: The table's name in params.yaml.
        title: The section's heading.
        table: The table.
        note: What stands below it, in Markdown.
        origin: Where its numbers come from.
    """
    names = inputs.settings.tables[name]
    comparison, files = pairs.compare_pairs(inputs.results, name, names, origin)
    body = f"{comparison}\n\n{note}"
    words = f"{body.replace('](tables/', '](')}\n\n{INTERVALS}"
    file = TableFile(name, table, words, origin)
    return Section(name, title, table=table, notes=body, origin=origin, files=(file, *files))


def collect_records(inputs: Inputs, names: Sequence[str]) -> list[RunRecord]:
    """Return the records of the variants' runs."""
    return [r.record for name in names for r in inputs.results[name]]
