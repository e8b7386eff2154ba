"""The paper's tables with our measured values beside the published ones."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import contexts
from ann import anchors
from pipeline.common.files import whole_file
from pipeline.common.params import Params, TableName, Variant
from pipeline.reporting import markdown, pairs, verdicts
from pipeline.reporting.measured import ANN, paper_pooling, plain
from pipeline.reporting.provenance import Origin, line
from pipeline.reporting.results import Failure, Results, by_seed, spread
from pipeline.reporting.statistics import Interval, mean, order, pair

DAGGER = "†"
DAGGER_NOTE = f"{DAGGER} written down from the paper's text and not yet checked against it."
UNMEASURED = "not measured"
_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "_%&#{}$"}
    | {c: f"${c}$" for c in "<>"}
    | {"^": r"\textasciicircum{}", "±": r"$\pm$", DAGGER: r"$^\dagger$", "`": None}
)
_NAMES = {"common": "common fusion", "fnb": "FNB", "afnb": "AFNB", "nb": "NB", "apnb": "APNB"}
_PUBLISHED_NAMES = {"common": "common_fusion"}


def dagger(status: str) -> str:
    """The mark of a published figure that was not yet checked against its source."""
    return DAGGER if status == "transcribed" else ""


def label(variant: Variant) -> str:
    """The row's name in the paper's ablation."""
    parts = [p for p in (variant.fusion, variant.context) if p != "none"]
    names = [_NAMES.get(p) or str(contexts.load(p).TITLE) for p in parts]
    fused = variant.options is not None and variant.options.form == "fused"
    return "+ " + " + ".join(names) + ", fused attention" * fused if parts else "baseline"


def published_ablation(variant: Variant, published: dict[str, Any]) -> float | None:
    """The paper's figure for the variant, if the paper has one with its pooling and options."""
    if not (plain(variant) and paper_pooling(variant)):
        return None
    parts = [p for p in (variant.fusion, variant.context) if p != "none"]
    key = "+".join(_PUBLISHED_NAMES.get(p, p) for p in parts) or "baseline"
    value: float | None = published["cityscapes_val_ablation"]["rows"].get(key)
    return value


def published_sampling(variant: Variant, published: dict[str, Any]) -> float | None:
    """The paper's figure for the full network with the variant's sampling and pool sizes."""
    if not plain(variant) or (variant.fusion, variant.context) != ANN:
        return None
    for row in published["cityscapes_val_sampling"]["rows"]:
        if (row["method"].replace(" ", "_"), row["n"]) == (variant.sampling, variant.pool_sizes):
            return float(row["miou"])
    return None


def measured(
    settings: Params,
    table: TableName,
    results: Results,
    failed: Sequence[Failure],
    published: list[float | None],
    source: dict[str, Any],
) -> pd.DataFrame:
    """The columns that all tables have, a row a variant."""
    names = settings.tables[table]
    base = verdicts.reference(settings, table)
    theirs = published[names.index(base)] if base else None
    rows = []
    for name, value in zip(names, published, strict=True):
        runs = results[name]
        found = pair(by_seed(runs), by_seed(results[base])) if base else None
        claim = None if value is None or theirs is None else round(value - theirs, 1)
        middle = mean([r.miou for r in runs])
        own = name == base and runs
        row = {
            "variant": name,
            "n": len(runs),
            "seeds": " ".join(str(r.seed) for r in runs),
            "failed": sum(f.variant == name for f in failed),
            "miou": middle.value,
            "sd": spread(runs),
            "ci_low": middle.low,
            "ci_high": middle.high,
            "reference": base or "",
            **pairs.columns(found if found and name != base else pair({}, {})),
            "published": value,
            "published_difference": claim,
            "published_status": "" if value is None else str(source["status"]),
            "verdict": verdicts.REFERENCE if own else verdicts.verdict(claim, found),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def ablation(
    settings: Params,
    results: Results,
    published: dict[str, Any],
    failed: Sequence[Failure] = (),
) -> pd.DataFrame:
    """The paper's ablation: a row a variant; mIoU in percent."""
    variants = [settings.variants[name] for name in settings.tables["ablation"]]
    values = [published_ablation(v, published) for v in variants]
    source = published["cityscapes_val_ablation"]
    frame = measured(settings, "ablation", results, failed, values, source)
    frame.insert(1, "model", [label(v) for v in variants])
    return frame


def sampling(
    settings: Params,
    results: Results,
    published: dict[str, Any],
    failed: Sequence[Failure] = (),
) -> pd.DataFrame:
    """The paper's table of sampling methods and anchor numbers; mIoU in percent."""
    variants = [settings.variants[name] for name in settings.tables["sampling"]]
    values = [published_sampling(v, published) for v in variants]
    source = published["cityscapes_val_sampling"]
    frame = measured(settings, "sampling", results, failed, values, source)
    pools = [v.pool_sizes or [] for v in variants]
    frame.insert(1, "sampling", [(v.sampling or "none").replace("_", " ") for v in variants])
    frame.insert(2, "pool_sizes", [" ".join(map(str, p)) for p in pools])
    frame.insert(3, "anchors", [anchors(p) for p in pools])
    return frame


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as a person reads it: rounded, mean with spread, a dagger where it belongs."""
    values: list[dict[Any, Any]] = frame.to_dict("records")
    base = values[0]["reference"] if values else ""

    def miou(row: dict[Any, Any]) -> str:
        if not row["n"]:
            return UNMEASURED
        spread = f" ± {row['sd']:.1f}" if row["n"] > 1 else ""
        return f"{row['miou']:.1f}{spread}"

    def between(row: dict[Any, Any]) -> str:
        return "" if pd.isna(row["ci_low"]) else f"{row['ci_low']:.1f} to {row['ci_high']:.1f}"

    def difference(row: dict[Any, Any]) -> str:
        if pd.isna(row.get("difference", math.nan)):
            return ""
        ends = pairs.interval(row["difference_low"], row["difference_high"], "+z.1f")
        return f"{row['difference']:+z.1f}{ends}"

    def seeds(row: dict[Any, Any]) -> str:
        told = f"{row['n']} ({row['seeds']})" if row["n"] else "0"
        return told + (f", {row['failed']} failed" if row["failed"] else "")

    def paper(row: dict[Any, Any]) -> str:
        mark = dagger(row["published_status"])
        return "" if pd.isna(row["published"]) else f"{row['published']:.1f}{mark}"

    def claim(row: dict[Any, Any]) -> str:
        value = row["published_difference"]
        return "" if pd.isna(value) or row["variant"] == base else f"{value:+z.1f}"

    columns: dict[str, list[str]] = {"variant": [r["variant"] for r in values]}
    for key, title in (("model", "model"), ("sampling", "sampling"), ("pool_sizes", "n")):
        if key in frame:
            columns[title] = [r[key] for r in values]
    if "anchors" in frame:
        columns["S"] = [str(r["anchors"]) for r in values]
    columns["mIoU"] = [miou(r) for r in values]
    columns["95 % interval"] = [between(r) for r in values]
    columns["seeds"] = [seeds(r) for r in values]
    if base:
        columns[f"to {base}"] = [difference(r) for r in values]
    if "published" not in frame:
        return pd.DataFrame(columns)
    columns["paper mIoU"] = [paper(r) for r in values]
    if base:
        columns[f"paper to {base}"] = [claim(r) for r in values]
    columns["verdict"] = [r["verdict"] for r in values]
    return pd.DataFrame(columns)


def rank(settings: Params, table: TableName, frame: pd.DataFrame, results: Results) -> Interval:
    """Kendall's tau-b of the measured and the paper's order, over the seeds that all rows have."""
    rows = frame[(frame["n"] > 0) & frame["published"].notna()]
    scores = [by_seed(results[name]) for name in rows["variant"]]
    seeds = [seed for seed in settings.seeds if scores and all(seed in row for row in scores)]
    matrix = np.array([[row[seed] for seed in seeds] for row in scores])
    return order(matrix, [float(value) for value in rows["published"]])


def write(
    frame: pd.DataFrame,
    stem: Path,
    notes: str,
    origin: Origin,
    show: Callable[[pd.DataFrame], pd.DataFrame] = shown,
) -> pd.DataFrame:
    """Write stem.csv, .md and .tex, the last two with where it comes from; returns the table as
    shown."""
    readable, source = show(frame), line(origin, runs=True)
    latex = readable.map(_latex).rename(columns=_latex).to_latex(index=False, escape=False)
    for suffix, text in (
        (".csv", frame.to_csv(index=False, lineterminator="\n", float_format="%.4f")),
        (".md", f"{markdown.table(readable)}\n\n{notes}\n\n{source}\n"),
        (".tex", f"% {source}\n{latex}"),
    ):
        with whole_file(stem.with_suffix(suffix)) as partial:
            partial.write_text(text, encoding="utf-8")
    return readable


def _latex(text: str) -> str:
    return text.translate(_LATEX)
