"""What the blocks and networks cost, as measured, beside the published figures."""

import math
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from ann.cost import authors_count
from pipeline.common.files import read_json
from pipeline.reporting.results import Results
from pipeline.reporting.tables import dagger

Row = dict[str, Any]
PASSES = {"forward": "fwd", "forward+backward": "fwd+bwd"}
BLOCK_NAMES = {"nb": "NB", "apnb": "APNB", "fnb": "FNB", "afnb": "AFNB"}
WORTH = 1.1  # a ratio below this counts as no gain

EFFICIENCY_NOTE = (
    "The core of each block, batch 1: embeddings, sampling, attention and W_o, without the fusing "
    "convolution. *plain* is the textbook form, as published; *fast* computes the same with less, "
    "NB and FNB with fused attention. GFLOPs are of the forward pass in closed form, two a "
    "multiply-add; *authors' count* is what the counter of the released code reports for NB: a "
    "multiply-add of a convolution as one, of a matrix product as two, and each module once, so "
    "one of the two N x N products. ms: the median of calls after a first one, or of one call "
    "where that took long. MB (10^6 bytes): the peak beyond inputs and weights. The paper's "
    "ms and MB are of one GPU."
)
NETWORKS_NOTE = (
    "GFLOPs: one image's forward pass with the blocks in the plain form, by PyTorch's counter. "
    "Images a second and MB (10^6 bytes, beyond inputs and weights): of the forward pass and of a "
    "training step. *predicted s*: a step's seconds times the iterations, alone on the machine and "
    "without reading data; *trained s*: the mean of the trainings in results.jsonl, which may have "
    "run side by side and on another machine. *step MB* predicts a training's memory; *trained MB* "
    "is what the second step of those trainings took."
)


def read(folder: Path) -> list[Row]:
    """The measurements of each machine, a file each."""
    return [read_json(file) for file in sorted(folder.glob("*.json"))]


def mode(row: Row) -> tuple[str, str]:
    """What a row was measured on: device and number type."""
    return row["device"], row["precision"] + (", channels last" if row["channels_last"] else "")


def size_name(size: list[int]) -> str:
    return "x".join(map(str, size))


def blocks(files: list[Row], published: Row) -> pd.DataFrame:
    """A row a device, number type, block, form and input; forward and with backward side by side.

    seconds and peak_bytes are nan, and status says why, where a size is not measured.
    """
    return pd.DataFrame([row for file in files for row in _block_rows(file, published)])


def _block_rows(file: Row, published: Row) -> Iterator[Row]:
    settings = file["settings"]
    sizes = settings["channels"], settings["embedded_channels"]

    def key(row: Row) -> tuple[Any, ...]:
        return (*mode(row), row["block"], row["form"], *row["size"])

    order = {k: i for i, k in enumerate(dict.fromkeys(map(key, file["blocks"])))}
    for (device, precision, block, form, *size), passes in groupby(
        sorted(file["blocks"], key=lambda row: order[key(row)]), key
    ):
        rows = {row["pass"]: row for row in passes}
        positions = math.prod(size)
        theirs = authors_count(positions, *sizes) if (block, form) == ("nb", "plain") else math.nan
        made = {
            "device": device,
            "precision": precision,
            "block": block,
            "form": form,
            "input": size_name(size),
            "gflops": rows["forward"]["flops"] / 1e9,
            "authors_gflops": theirs / 1e9,
        }
        for name, short in PASSES.items():
            made[f"{short}_status"] = rows[name]["status"]
            made[f"{short}_ms"] = 1e3 * rows[name].get("seconds", math.nan)
            made[f"{short}_mb"] = rows[name].get("peak_bytes", math.nan) / 1e6
        made["limit"] = settings["limit"]
        comparable = form == "plain" and precision == "float32" and sizes == (2048, 256)
        yield made | _published(block, size, published if comparable else {"rows": []})


def _published(block: str, size: list[int], published: Row) -> Row:
    found: Row = next(
        (r for r in published["rows"] if r["block"] == block and r["input"] == list(size)), {}
    )
    return {
        "published_gflops": found.get("gflops", math.nan),
        "published_ms": found.get("time_ms", math.nan),
        "published_mb": found.get("memory_mb", math.nan),
        "published_status": published["status"] if found else "",
    }


def blocks_shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The table of blocks as a person reads it."""
    columns: dict[str, list[str]] = {}
    rows: list[Row] = frame.to_dict("records")  # type: ignore[assignment]
    for key in ("device", "precision", "block", "form", "input"):
        columns[key] = [BLOCK_NAMES.get(str(r[key]), str(r[key])) for r in rows]
    columns["GFLOPs"] = [_number(r["gflops"], 1) for r in rows]
    columns["authors' count"] = [_number(r["authors_gflops"], 1) for r in rows]
    for short in PASSES.values():
        told = [_why(r[f"{short}_status"], r["limit"]) for r in rows]
        for unit, digits in (("ms", 1), ("mb", 0)):
            title = {"ms": f"{short} ms", "mb": f"{short} MB"}[unit]
            columns[title] = [
                why or _number(r[f"{short}_{unit}"], digits)
                for r, why in zip(rows, told, strict=True)
            ]
    for key, title, digits in (("gflops", "GFLOPs", 1), ("ms", "ms", 1), ("mb", "MB", 0)):
        columns[f"paper {title}"] = [
            _number(r[f"published_{key}"], digits, r["published_status"]) for r in rows
        ]
    return pd.DataFrame(columns)


def _number(value: float, digits: int, status: str = "") -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}{dagger(status)}"


def _why(status: str, limit: float) -> str:
    """Why there is no number; empty if there is one."""
    if status == "measured":
        return ""
    return f"over {limit:.0f} s" if status == "over" else "does not fit"


def worth(frame: pd.DataFrame) -> str:
    """Whether APNB is still worth it against fused attention, by the measured ratios."""
    lines = []
    for (device, precision), rows in frame.groupby(["device", "precision"], sort=False):
        for short in PASSES.values():
            lines.append(f"- {device}, {precision}, {short}: {_verdict(rows, short)}")
    question = "Is APNB still worth it against NB with fused attention?"
    return "\n".join([f"{question} A gain is a ratio above {WORTH}.", "", *lines])


def _verdict(rows: pd.DataFrame, short: str) -> str:
    """At the largest input at which both fast forms are measured."""
    measured = rows[rows[f"{short}_status"] == "measured"].set_index(["form", "block", "input"])

    def ratio(form: str, size: str, unit: str) -> float:
        nb, apnb = (measured[f"{short}_{unit}"].get((form, b, size)) for b in ("nb", "apnb"))
        return nb / apnb if nb is not None and apnb else math.nan

    sizes = [s for s in dict.fromkeys(rows["input"]) if not math.isnan(ratio("fast", s, "ms"))]
    if not sizes:
        return "not measured at any input."
    size = sizes[-1]
    time, memory = ratio("fast", size, "ms"), ratio("fast", size, "mb")
    gains = [n for n, r in (("time", time), ("memory", memory)) if r > WORTH]
    answer = f"yes, in {' and '.join(gains)}" if gains else "no"
    told = (
        f"{answer}: at {size} NB with fused attention takes {time:.2g} times the time of the fast "
        f"APNB and {memory:.2g} times its memory"
    )
    time, memory = ratio("plain", size, "ms"), ratio("plain", size, "mb")
    if math.isnan(time):
        return f"{told}; as published, the ratios are not measured there."
    return f"{told}; as published, the ratios are {time:.2g} and {memory:.2g}."


def networks(file: Row, results: Results) -> pd.DataFrame:
    """A row a profile, variant and input: what was counted, measured, predicted, and trained."""
    pairs: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in file["networks"]:
        key = (row["profile"], row["variant"], size_name(row["size"]), row["batch"])
        pairs.setdefault(key, {})[row["pass"]] = row
    return pd.DataFrame([_network(file, results, rows, *key) for key, rows in pairs.items()])


def _network(
    file: Row,
    results: Results,
    rows: dict[str, Row],
    profile: str,
    variant: str,
    size: str,
    batch: int,
) -> Row:
    made: Row = {
        "profile": profile,
        "variant": variant,
        "input": size,
        "batch": batch,
        "parameters": rows["forward"]["parameters"],
        "gflops": rows["forward"]["flops"] / 1e9,
    }
    for name, row in rows.items():
        seconds = row.get("seconds", math.nan)
        made[f"{name}_status"] = row["status"]
        made[f"{name}_images_a_second"] = batch / seconds
        made[f"{name}_mb"] = row.get("peak_bytes", math.nan) / 1e6
    made["limit"] = file["limit"]
    own = profile == file["profile"] and size == size_name(file["crop"])
    made["predicted_seconds"] = (
        file["iterations"] * rows["step"].get("seconds", math.nan) if own else math.nan
    )
    speeds = [r["speed"] for r in _trained(results, profile, variant)] if own else []
    trained = _mean([s["seconds"] / s["iterations"] * file["iterations"] for s in speeds])
    made["trained_seconds"] = trained
    made["trained_to_predicted"] = trained / made["predicted_seconds"]
    made["trained_mb"] = _mean([s["peak_bytes"] / 1e6 for s in speeds if s["peak_bytes"]])
    return made


def _trained(results: Results, profile: str, variant: str) -> list[Row]:
    """The records of the profile's runs that tell how long they took."""
    records = [r.record for r in results.get(variant, [])]
    return [r for r in records if r["profile"] == profile and r["speed"]["iterations"]]


def trainings(frame: pd.DataFrame, results: Results) -> list[Row]:
    """The records of the runs that the table of networks shows."""
    rows = frame[frame["trained_seconds"].notna()]
    return [
        record
        for profile, variant in rows[["profile", "variant"]].itertuples(index=False)
        for record in _trained(results, profile, variant)
    ]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def networks_shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The table of networks as a person reads it."""
    rows: list[Row] = frame.to_dict("records")  # type: ignore[assignment]
    columns = {key: [str(r[key]) for r in rows] for key in ("profile", "variant", "input", "batch")}
    columns["parameters (M)"] = [_number(r["parameters"] / 1e6, 2) for r in rows]
    columns["GFLOPs"] = [f"{r['gflops']:.4g}" for r in rows]
    for name, title in (("forward", ""), ("step", "step ")):
        told = [_why(r[f"{name}_status"], r["limit"]) for r in rows]
        for key, unit in (("images_a_second", "images/s"), ("mb", "MB")):
            columns[f"{title}{unit}"] = [
                why or _number(r[f"{name}_{key}"], 1) for r, why in zip(rows, told, strict=True)
            ]
    columns["predicted s"] = [_number(r["predicted_seconds"], 1) for r in rows]
    columns["trained s"] = [_number(r["trained_seconds"], 1) for r in rows]
    columns["trained MB"] = [_number(r["trained_mb"], 1) for r in rows]
    columns["trained / predicted"] = [_number(r["trained_to_predicted"], 2) for r in rows]
    return pd.DataFrame(columns)
