"""What the blocks cost, as measured, beside the published figures."""

import math
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Literal

import pandas as pd

from ann.cost import authors_count
from pipeline.measuring.process import MEASURED, OVER
from pipeline.reporting import provenance
from pipeline.reporting.columns import Column, Number, Row, Table
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.published import DAGGER_NOTE, mark_status
from pipeline.reporting.sections import Section, TableFile
from pipeline.settings.records import BlockCost, BlockCosts, BlockRow, Measurement

Call = Literal["forward", "forward+backward"]
PASSES: dict[Call, str] = {"forward": "fwd", "forward+backward": "fwd+bwd"}
BLOCK_NAMES = {"nb": "NB", "apnb": "APNB", "fnb": "FNB", "afnb": "AFNB"}
GAIN = 1.1  # a ratio below this counts as no gain
NOTE = (
    "The table shows the core of each block with batch 1: embeddings, sampling, attention and W_o, "
    "without the fusing convolution. *plain* is the textbook form, as published. *fast* computes "
    "the same with less time and memory; NB and FNB then use fused attention.\n\n"
    "- *GFLOPs*: the forward pass in closed form. A multiply-add counts two.\n"
    "- *authors' count*: what the counter of the released code reports for NB. It counts a "
    "multiply-add of a convolution as one and of a matrix product as two. It counts each module "
    "once, so it sees only one of the two N x N products.\n"
    "- *ms*: the median of the calls after the first, or a single call where that took long.\n"
    "- *MB*: the peak in 10^6 bytes beyond inputs and weights.\n"
    "- *paper ms*, *paper MB*: measured by the authors on one GPU. Their script takes the mean of "
    "20 forward passes and PyTorch's peak of allocated memory in MiB (2^20 bytes), both less those "
    "of an empty block."
)


def name_mode(row: BlockRow) -> tuple[str, str]:
    """Return what a row was measured on: device and number type."""
    return row.device, row.precision + (", channels last" if row.channels_last else "")


def list_measured(measurement: Measurement | None) -> tuple[float, float]:
    """Return seconds and peak bytes; nan where nothing is measured."""
    return (measurement.seconds, measurement.peak_bytes) if measurement else (math.nan, math.nan)


def name_size(size: Iterable[int]) -> str:
    return "x".join(map(str, size))


def build_frame(files: list[BlockCosts], published: Row) -> pd.DataFrame:
    """Return a row for each device, number type, block, form and input.

    Forward and forward with backward stand side by side. ms and mb are nan where a size is not
    measured; the status says why.
    """
    return pd.DataFrame([row for file in files for row in _build_rows(file, published)])


def _build_rows(file: BlockCosts, published: Row) -> Iterator[Row]:
    settings = file.settings
    sizes = settings.channels, settings.embedded_channels

    def key(row: BlockCost) -> tuple[Any, ...]:
        return (*name_mode(row), row.block, row.form, *row.size)

    order = {k: i for i, k in enumerate(dict.fromkeys(map(key, file.blocks)))}
    for (device, precision, block, form, *size), calls in groupby(
        sorted(file.blocks, key=lambda row: order[key(row)]), key
    ):
        costs = {row.call: row for row in calls}
        positions = math.prod(size)
        counted = authors_count(positions, *sizes) if (block, form) == ("nb", "plain") else math.nan
        row = {
            "device": device,
            "precision": precision,
            "block": block,
            "form": form,
            "input": name_size(size),
            "gflops": costs["forward"].flops / 1e9,
            "authors_gflops": counted / 1e9,
        }
        for call, short in PASSES.items():
            seconds, peak_bytes = list_measured(costs[call].measured)
            row[f"{short}_status"] = costs[call].status
            row[f"{short}_ms"] = 1e3 * seconds
            row[f"{short}_mb"] = peak_bytes / 1e6
        row["limit"] = settings.limit
        comparable = form == "plain" and precision == "float32" and sizes == (2048, 256)
        yield row | _find_published(block, size, published if comparable else {"rows": []})


def _find_published(block: str, size: list[int], published: Row) -> Row:
    figures: Row = next(
        (r for r in published["rows"] if r["block"] == block and r["input"] == list(size)), {}
    )
    return {
        "published_gflops": figures.get("gflops", math.nan),
        "published_ms": figures.get("time_ms", math.nan),
        "published_mb": figures.get("memory_mb", math.nan),
        "published_status": published["status"] if figures else "",
    }


def explain_missing(row: Row, name: str) -> str:
    """Return why a pass has no number in this row."""
    return f"over {row['limit']:.0f} s" if row[f"{name}_status"] == OVER else "does not fit"


def _published_column(key: str, title: str, spec: str) -> Column:
    def format_figure(row: Row) -> str:
        return f"{row[f'published_{key}']:{spec}}{mark_status(row['published_status'])}"

    return Number(f"published_{key}", f"paper {title}", format_figure)


def _pass_columns(short: str) -> tuple[Column, Column]:
    def explain(row: Row) -> str:
        return explain_missing(row, short)

    return (
        Number(f"{short}_ms", f"{short} ms", ".1f", explain),
        Number(f"{short}_mb", f"{short} MB", ".0f", explain),
    )


COLUMNS = (
    Column("device"),
    Column("precision"),
    Column("block", format=lambda row: BLOCK_NAMES[row["block"]]),
    Column("form"),
    Column("input"),
    Number("gflops", "GFLOPs", ".1f"),
    Number("authors_gflops", "authors' count", ".1f"),
    *(column for short in PASSES.values() for column in _pass_columns(short)),
    _published_column("gflops", "GFLOPs", ".1f"),
    _published_column("ms", "ms", ".1f"),
    _published_column("mb", "MB", ".0f"),
)


def answer_question(frame: pd.DataFrame) -> str:
    """Say for each device whether APNB is still cheaper than NB with fused attention."""
    lines = []
    for (device, precision), group in frame.groupby(["device", "precision"], sort=False):
        for short in PASSES.values():
            lines.append(f"- {device}, {precision}, {short}: {_compare_blocks(group, short)}")
    question = "Is APNB still cheaper than NB with fused attention?"
    return "\n".join([f"{question} A gain is a ratio above {GAIN}.", "", *lines])


def _compare_blocks(group: pd.DataFrame, short: str) -> str:
    """Compare at the largest input at which both fast forms are measured."""
    measured = group[group[f"{short}_status"] == MEASURED].set_index(["form", "block", "input"])

    def divide(form: str, size: str, unit: str) -> float:
        nb, apnb = (measured[f"{short}_{unit}"].get((form, b, size)) for b in ("nb", "apnb"))
        return nb / apnb if nb is not None and apnb else math.nan

    sizes = [s for s in dict.fromkeys(group["input"]) if not math.isnan(divide("fast", s, "ms"))]
    if not sizes:
        return "not measured at any input."
    size = sizes[-1]
    time, memory = divide("fast", size, "ms"), divide("fast", size, "mb")
    gains = [name for name, ratio in (("time", time), ("memory", memory)) if ratio > GAIN]
    answer = (
        f"{'yes, in ' + ' and '.join(gains) if gains else 'no'}. At {size} NB with fused attention "
        f"takes {time:.2g} times the time of the fast APNB and {memory:.2g} times its memory."
    )
    time, memory = divide("plain", size, "ms"), divide("plain", size, "mb")
    if math.isnan(time):
        return f"{answer} The ratios of the plain forms are not measured there."
    return f"{answer} The ratios of the plain forms are {time:.2g} and {memory:.2g}."


def build_section(inputs: Inputs) -> Section:
    """Return the section of the table."""
    table = Table(build_frame(inputs.blocks, inputs.published["efficiency"]), COLUMNS)
    words = f"{answer_question(table.frame)}\n\n{NOTE}"
    origin = provenance.find_origin(inputs.blocks)
    file = TableFile("efficiency", table, f"{words}\n\n{DAGGER_NOTE}", origin)
    title = "Efficiency"
    return Section("efficiency", title, table=table, notes=words, origin=origin, files=(file,))
