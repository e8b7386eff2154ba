"""The paper's tables with our measured values beside the published ones."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ann import anchors
from pipeline.common.files import whole_file
from pipeline.common.params import Params, TableName, Variant
from pipeline.reporting import markdown
from pipeline.reporting.results import (
    LEVEL,
    Result,
    Results,
    differences,
    mean,
    not_told_apart,
    spread,
)

DAGGER = "†"
DAGGER_NOTE = f"{DAGGER} written down from the paper's text and not yet checked against it."
UNMEASURED = "not measured"
PAPER_POOLING = ("pyramid_average", [1, 3, 6, 8])
_NAMES = {"common": "common fusion", "fnb": "FNB", "afnb": "AFNB", "nb": "NB", "apnb": "APNB"}
_PUBLISHED_NAMES = {"common": "common_fusion"}


def dagger(status: str) -> str:
    """The mark of a published figure that was not yet checked against its source."""
    return DAGGER if status == "transcribed" else ""


def label(variant: Variant) -> str:
    """The row's name in the paper's ablation."""
    parts = [_NAMES[p] for p in (variant.fusion, variant.context) if p != "none"]
    return "+ " + " + ".join(parts) if parts else "baseline"


def published_ablation(variant: Variant, published: dict[str, Any]) -> float | None:
    """The paper's figure for the variant, if the paper has one with its pooling."""
    if variant.pool_sizes and (variant.sampling, variant.pool_sizes) != PAPER_POOLING:
        return None
    parts = [p for p in (variant.fusion, variant.context) if p != "none"]
    key = "+".join(_PUBLISHED_NAMES.get(p, p) for p in parts) or "baseline"
    value: float | None = published["cityscapes_val_ablation"]["rows"].get(key)
    return value


def published_sampling(variant: Variant, published: dict[str, Any]) -> float | None:
    """The paper's figure for the full network with the variant's sampling and pool sizes."""
    if (variant.fusion, variant.context) != ("afnb", "apnb"):
        return None
    for row in published["cityscapes_val_sampling"]["rows"]:
        if (row["method"].replace(" ", "_"), row["n"]) == (variant.sampling, variant.pool_sizes):
            return float(row["miou"])
    return None


def _measured(settings: Params, results: Results, rows: list[str]) -> Iterator[dict[str, Any]]:
    """The columns that both tables have, a row a variant."""
    baselines = [v for v in rows if label(settings.variants[v]) == "baseline"]
    for name in rows:
        runs = results[name]
        yield {
            "variant": name,
            "n": len(runs),
            "seeds": " ".join(str(r.seed) for r in runs),
            "miou": mean(runs),
            "sd": spread(runs),
            "to_baseline": _mean_difference(runs, results[baselines[0]] if baselines else []),
        }


def _mean_difference(runs: list[Result], base: list[Result]) -> float:
    values = differences(runs, base)
    return sum(values) / len(values) if values else float("nan")


def ablation(settings: Params, results: Results, published: dict[str, Any]) -> pd.DataFrame:
    """The paper's ablation: a row a variant; mIoU in percent."""
    rows = settings.tables["ablation"]
    frame = pd.DataFrame(_measured(settings, results, rows))
    variants = [settings.variants[name] for name in rows]
    values = [published_ablation(v, published) for v in variants]
    frame.insert(1, "model", [label(v) for v in variants])
    frame["published"] = values
    base = published["cityscapes_val_ablation"]["rows"]["baseline"]
    frame["published_to_baseline"] = [None if v is None else round(v - base, 1) for v in values]
    frame["published_status"] = _status(values, published["cityscapes_val_ablation"])
    return frame


def sampling(settings: Params, results: Results, published: dict[str, Any]) -> pd.DataFrame:
    """The paper's table of sampling methods and anchor numbers; mIoU in percent."""
    rows = settings.tables["sampling"]
    frame = pd.DataFrame(_measured(settings, results, rows)).drop(columns="to_baseline")
    variants = [settings.variants[name] for name in rows]
    pools = [v.pool_sizes or [] for v in variants]
    values = [published_sampling(v, published) for v in variants]
    frame.insert(1, "sampling", [(v.sampling or "none").replace("_", " ") for v in variants])
    frame.insert(2, "pool_sizes", [" ".join(map(str, p)) for p in pools])
    frame.insert(3, "anchors", [anchors(p) for p in pools])
    frame["published"] = values
    frame["published_status"] = _status(values, published["cityscapes_val_sampling"])
    return frame


def _status(values: list[float | None], source: dict[str, Any]) -> list[str]:
    return ["" if v is None else str(source["status"]) for v in values]


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as a person reads it: rounded, mean with spread, a dagger where it belongs."""
    values: list[dict[Any, Any]] = frame.to_dict("records")

    def measured(row: dict[Any, Any]) -> str:
        if not row["n"]:
            return UNMEASURED
        spread = f" ± {row['sd']:.1f}" if row["n"] > 1 else ""
        return f"{row['miou']:.1f}{spread}"

    def signed(value: Any) -> str:
        return "" if pd.isna(value) else f"{value:+.1f}"

    def paper(row: dict[Any, Any]) -> str:
        mark = dagger(row["published_status"])
        return "" if pd.isna(row["published"]) else f"{row['published']:.1f}{mark}"

    columns: dict[str, list[str]] = {"variant": [r["variant"] for r in values]}
    for key, title in (("model", "model"), ("sampling", "sampling"), ("pool_sizes", "n")):
        if key in frame:
            columns[title] = [r[key] for r in values]
    if "anchors" in frame:
        columns["S"] = [str(r["anchors"]) for r in values]
    columns["mIoU"] = [measured(r) for r in values]
    if "to_baseline" in frame:
        columns["to baseline"] = [signed(r["to_baseline"]) for r in values]
    columns["seeds"] = [f"{r['n']} ({r['seeds']})" if r["n"] else "0" for r in values]
    columns["paper mIoU"] = [paper(r) for r in values]
    if "published_to_baseline" in frame:
        columns["paper to baseline"] = [signed(r["published_to_baseline"]) for r in values]
    return pd.DataFrame(columns)


def separation(settings: Params, results: Results, table: TableName) -> str:
    """Which comparisons the seeds separate, in words."""
    rows = [row for row in settings.tables[table] if results[row]]
    pairs = len(rows) * (len(rows) - 1) // 2
    if not pairs:
        return "Fewer than two rows are measured: there is nothing to compare."
    unclear = not_told_apart(results, rows)
    text = (
        f"Of {pairs} pairs of rows, {pairs - len(unclear)} are told apart: a paired t-test over "
        f"equal seeds gives p < {LEVEL}. Chance alone would tell about {LEVEL * pairs:.0f} apart."
    )
    if not unclear:
        return text
    by_row = {row: [b if a == row else a for a, b in unclear if row in (a, b)] for row in rows}
    lines = [f"- {row}: {', '.join(others)}" for row, others in by_row.items() if others]
    return "\n".join([text + " Not told apart:", "", *lines])


def write(
    frame: pd.DataFrame,
    stem: Path,
    notes: str,
    show: Callable[[pd.DataFrame], pd.DataFrame] = shown,
) -> pd.DataFrame:
    """Write stem.csv, .md and .tex; returns the table as shown."""
    readable = show(frame)
    latex = readable.map(_latex).rename(columns=_latex).to_latex(index=False, escape=False)
    for suffix, text in (
        (".csv", frame.to_csv(index=False, lineterminator="\n", float_format="%.4f")),
        (".md", f"{markdown.table(readable)}\n\n{notes}\n"),
        (".tex", latex),
    ):
        with whole_file(stem.with_suffix(suffix)) as partial:
            partial.write_text(text)
    return readable


def _latex(text: str) -> str:
    for plain, command in (("_", r"\_"), ("%", r"\%"), ("±", r"$\pm$"), (DAGGER, r"$^\dagger$")):
        text = text.replace(plain, command)
    return text
