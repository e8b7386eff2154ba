"""The tables of single runs: where each score comes from, and which runs failed."""

from collections.abc import Iterable

import pandas as pd

from pipeline.engine.provenance import describe_code
from pipeline.reporting import provenance
from pipeline.reporting.columns import Column, Number, Table
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.sections import Section
from pipeline.settings.records import FailureLine, RunLine

SOURCES = (
    "A run's name is the same in every MLflow store: variant, seed, and the fingerprint of "
    "settings, data and code. MLflow's own run ids differ between stores. `results.jsonl` has each "
    "run's settings, libraries, machine, per-class scores and confusion matrix. "
    "`tables/provenance.json` says what each table is made from."
)
FAILED = "These runs ended without a score and are in no mean. `dvc repro` tries them again."
SOURCE_COLUMNS = (
    Column("run", "MLflow run"),
    Number("miou", "mIoU", ".2f"),
    Column("commit"),
    Column("data"),
    Number("seconds", format=".0f"),
    Column("precision"),
    Column("machine"),
)
FAILURE_COLUMNS = (Column("variant"), Number("seed"), Column("stage"), Column("reason"))


def build_sources(inputs: Inputs) -> Section:
    """Return a row for each run with its score and where it comes from."""
    table = build_table(run for runs in inputs.results.values() for run in runs)
    return Section("sources", "Where each number comes from", intro=SOURCES, table=table)


def build_table(runs: Iterable[RunLine]) -> Table:
    """Return a row for each of these runs."""
    columns = [column.key for column in SOURCE_COLUMNS]
    return Table(pd.DataFrame(map(_describe_run, runs), columns=columns), SOURCE_COLUMNS)


def build_failures(failures: list[FailureLine]) -> Section:
    """Return a row for each failed run, with the reason on one line."""
    rows = [(f.variant, f.seed, f.stage, " ".join(f.reason.split())) for f in failures]
    columns = [column.key for column in FAILURE_COLUMNS]
    table = Table(pd.DataFrame(rows, columns=columns), FAILURE_COLUMNS)
    return Section("failed", "Failed runs", intro=FAILED, table=table)


def _describe_run(run: RunLine) -> dict[str, object]:
    record = run.record
    environment = record.environment
    torch = environment.libraries["torch"]
    return {
        "run": record.run_name,
        "miou": run.miou,
        "commit": describe_code(record.code.commit, record.code.dirty),
        "data": record.dataset.digest[:12],
        "seconds": record.speed.seconds,
        "precision": record.config.train.precision,
        "machine": f"{provenance.hardware(environment)}, torch {torch}",
    }
