"""What the networks cost: counted, measured, predicted, and what their trainings took."""

import math

import pandas as pd

from pipeline.reporting import provenance
from pipeline.reporting.columns import Column, Number, Row, Table
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.results import Results
from pipeline.reporting.sections import Section, TableFile
from pipeline.reporting.tables.blocks import explain_missing, list_measured, name_size
from pipeline.settings.records import NetworkCost, NetworkCosts, RunRecord

NOTE = (
    "- *GFLOPs*: one image's forward pass with the blocks in the plain form, by PyTorch's "
    "counter.\n"
    "- *images/s* and *MB*: the forward pass; *step*: a training step. MB are 10^6 bytes beyond "
    "inputs and weights.\n"
    "- *predicted s*: the seconds of a step times the iterations, alone on the machine and without "
    "reading data.\n"
    "- *trained s*: the mean of the trainings in results.jsonl. They may have run side by side and "
    "on another machine.\n"
    "- *trained MB*: what the second step of those trainings took. *step MB* predicts it."
)


def build_frame(file: NetworkCosts, results: Results) -> pd.DataFrame:
    """Return a row for each profile, variant and input."""
    groups: dict[tuple[str, str, str, int], dict[str, NetworkCost]] = {}
    for row in file.networks:
        key = (row.profile, row.variant, name_size(row.size), row.batch)
        groups.setdefault(key, {})[row.call] = row
    return pd.DataFrame([_build_row(file, results, calls, *k) for k, calls in groups.items()])


def _build_row(
    file: NetworkCosts,
    results: Results,
    calls: dict[str, NetworkCost],
    profile: str,
    variant: str,
    size: str,
    batch: int,
) -> Row:
    row: Row = {
        "profile": profile,
        "variant": variant,
        "input": size,
        "batch": batch,
        "parameters": calls["forward"].parameters,
        "gflops": calls["forward"].flops / 1e9,
    }
    for name, cost in calls.items():
        seconds, peak_bytes = list_measured(cost.measured)
        row[f"{name}_status"] = cost.status
        row[f"{name}_images_a_second"] = batch / seconds
        row[f"{name}_mb"] = peak_bytes / 1e6
    row["limit"] = file.limit
    own = profile == file.profile and size == name_size(file.crop)
    step_seconds, _ = list_measured(calls["step"].measured)
    row["predicted_seconds"] = file.iterations * step_seconds if own else math.nan
    speeds = [r.speed for r in _select_trainings(results, profile, variant)] if own else []
    trained = _average([s.seconds / s.iterations * file.iterations for s in speeds])
    row["trained_seconds"] = trained
    row["trained_to_predicted"] = trained / row["predicted_seconds"]
    row["trained_mb"] = _average([s.peak_bytes / 1e6 for s in speeds if s.peak_bytes])
    return row


def _select_trainings(results: Results, profile: str, variant: str) -> list[RunRecord]:
    """Return the records of the profile's runs that say how long they took."""
    records = [r.record for r in results.get(variant, [])]
    return [r for r in records if r.profile == profile and r.speed.iterations]


def collect_records(frame: pd.DataFrame, results: Results) -> list[RunRecord]:
    """Return the records of the trainings that the table shows."""
    trained = frame[frame["trained_seconds"].notna()]
    return [
        record
        for profile, variant in trained[["profile", "variant"]].itertuples(index=False)
        for record in _select_trainings(results, profile, variant)
    ]


def _average(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _pass_columns(name: str, prefix: str) -> tuple[Column, Column]:
    def explain(row: Row) -> str:
        return explain_missing(row, name)

    return (
        Number(f"{name}_images_a_second", f"{prefix}images/s", ".1f", explain),
        Number(f"{name}_mb", f"{prefix}MB", ".1f", explain),
    )


COLUMNS = (
    Column("profile"),
    Column("variant"),
    Column("input"),
    Number("batch"),
    Number("parameters", "parameters (M)", ".2f", unit=1e6),
    Number("gflops", "GFLOPs", ".4g"),
    *_pass_columns("forward", ""),
    *_pass_columns("step", "step "),
    Number("predicted_seconds", "predicted s", ".1f"),
    Number("trained_seconds", "trained s", ".1f"),
    Number("trained_mb", "trained MB", ".1f"),
    Number("trained_to_predicted", "trained / predicted", ".2f"),
)


def build_section(inputs: Inputs, networks: NetworkCosts) -> Section:
    """Return the section of the table; networks: reports/networks.json."""
    table = Table(build_frame(networks, inputs.results), COLUMNS)
    origin = provenance.find_origin([networks, *collect_records(table.frame, inputs.results)])
    file = TableFile("networks", table, NOTE, origin)
    title = "Networks"
    return Section("networks", title, table=table, notes=NOTE, origin=origin, files=(file,))
