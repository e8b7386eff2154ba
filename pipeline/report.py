"""Stage report: the page and the tables, from what the other stages left in reports/ alone.

    python -m pipeline.report

Needs neither data nor weights. Writes reports/index.html, reports/README.md,
reports/tables and reports/metrics.json.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline.collect import RESULTS
from pipeline.common import cli, params
from pipeline.common.files import read_json, whole_file, whole_folder, write_json
from pipeline.common.paths import EFFICIENCY, FIGURES, NETWORKS, PUBLISHED
from pipeline.common.provenance import run_name, told
from pipeline.reporting import (
    beyond,
    classes,
    comparisons,
    deviations,
    efficiency,
    figures,
    html,
    imported,
    markdown,
    measured,
    method,
    pairs,
    pictures,
    provenance,
    tables,
    verdicts,
)
from pipeline.reporting.results import (
    Failure,
    Result,
    Results,
    mean,
    read,
    read_failed,
    read_imported,
)
from pipeline.reporting.sections import Section

REPORTS = Path("reports")

DAGGER_NOTE = f"{tables.DAGGER_NOTE} Published values: Cityscapes val, ResNet-101, single scale."
EMBEDDED_NOTE = (
    "These runs are on drawn scenes with a small network: **their numbers are not comparable with "
    "the paper's**. The scene and the recipe were tuned to make the mechanism visible; this shows "
    "that the code does what the paper says, and is no independent evidence for its claims."
)
READING = (
    "mIoU in percent over the whole validation split, one confusion matrix, last iteration; "
    "mean ± standard deviation over the seeds."
)
SOURCES = (
    "A run's name is the same in every MLflow store: variant, seed, and the fingerprint of "
    "settings, data and code; MLflow's own run ids are another in each store. `results.jsonl` "
    "holds the settings, libraries and machine of each, its per-class scores and its confusion "
    "matrix; `tables/provenance.json` what each table is made from."
)
FAILED = "These runs ended without a score and are in no mean; `dvc repro` tries them again."
OTHER_NOTE = (
    "These runs are not on Cityscapes with a ResNet-101: **their numbers are not comparable with "
    "the paper's**, only the order of the rows is."
)


def comparable_note(settings: params.Params) -> str:
    """What must be said before a number is held against the paper's; empty if nothing."""
    if settings.embedded:
        return EMBEDDED_NOTE
    backbone = settings.active.network.backbone
    if settings.active.dataset != "cityscapes" or backbone != "resnet101":
        return OTHER_NOTE
    return ""


def sources(results: Results) -> pd.DataFrame:
    """A row a run: its score and where it comes from."""
    return pd.DataFrame([_source(r) for runs in results.values() for r in runs])


def _source(result: Result) -> dict[str, Any]:
    record = result.record
    environment = record["environment"]
    return {
        "MLflow run": run_name(record),
        "mIoU": f"{result.miou:.2f}",
        "commit": told(record["code"]),
        "data": record["dataset"]["digest"][:12],
        "seconds": f"{record['speed']['seconds']:.0f}",
        "precision": record["config"]["train"]["precision"],
        "machine": f"{provenance.hardware(environment)}, torch {environment['libraries']['torch']}",
    }


def paper_tables(
    folder: Path,
    settings: params.Params,
    results: Results,
    failed: list[Failure],
    published: dict[str, Any],
) -> Iterator[Section]:
    """Write the paper's tables, and beside each the comparison of every two of its rows."""
    for name in settings.tables:
        if name == "beyond":  # the paper has no such table
            continue
        make = tables.ablation if name == "ablation" else tables.sampling
        rows = settings.tables[name]
        frame = make(settings, results, published, failed)
        origin = provenance.origin(r.record for row in rows for r in results[row])
        rank, counts = tables.rank(settings, name, frame, results), verdicts.counts(frame)
        headline = verdicts.headline(name, frame)
        words = f"{headline} {verdicts.order_note(rank)}\n\n{verdicts.rule(settings, name)}"
        body = f"{words}\n\n{separation(folder, name, results, rows, origin)}"
        under = [body.replace("](tables/", "]("), READING, verdicts.interval_note(frame["n"])]
        notes = "\n\n".join(filter(None, [*under, DAGGER_NOTE, comparable_note(settings)]))
        table = tables.write(frame, folder / name, notes, origin)
        yield Section(
            name,
            name.capitalize(),
            table=table,
            notes=body,
            origin=origin,
            headline=headline,
            metrics={word.replace(" ", "_"): number for word, number in counts.items()}
            | ({} if math.isnan(rank.value) else {"order": round(rank.value, 2)}),
        )
    intervals = verdicts.interval_note(map(len, results.values()))
    yield Section("reading", notes=f"{READING} {DAGGER_NOTE}\n\n{intervals}")


def separation(
    folder: Path, name: str, results: Results, rows: list[str], origin: provenance.Origin
) -> str:
    """Write the comparison of every two rows of a table; returns how many are told apart."""
    couples = pairs.table(results, rows)
    words = pairs.separation(couples)
    if len(couples):
        tables.write(couples, folder / f"{name}_pairs", pairs.NOTE, origin, pairs.shown)
        words += f" Each pair: [{name}_pairs.md](tables/{name}_pairs.md)."
    return words


def imported_table(
    folder: Path, settings: params.Params, others: dict[str, Any], published: dict[str, Any]
) -> Section:
    """Write the table of the checkpoints that others trained."""
    frame, words = imported.table(settings, others, published), imported.notes(settings)
    origin = provenance.origin(
        measured.record(others[name]) for name in settings.checkpoints if name in others
    )
    table = tables.write(frame, folder / "imported", words, origin, imported.shown)
    return Section("imported", "Imported", table=table, notes=words, origin=origin)


def comparison_tables(
    folder: Path,
    settings: params.Params,
    results: Results,
    others: dict[str, Any],
    published: dict[str, Any],
) -> Iterator[Section]:
    """Write the comparisons with what others published."""
    yield Section("comparisons", "Comparisons", notes=comparisons.ABOUT)
    for name, about in comparisons.COMPARISONS.items():
        frame = comparisons.table(settings, name, results, others, published)
        words = comparisons.notes(settings, name)
        origin = provenance.origin(comparisons.records(settings, name, results, others))
        notes = f"{comparisons.ABOUT}\n\n{words}"
        tables.write(frame, folder / name, notes, origin, comparisons.shown)
        short = comparisons.compact(frame)
        yield Section(name, about.title, 3, table=short, notes=words, origin=origin)
    frame = classes.table(settings, results, others, published)
    notes = classes.notes(settings, frame)
    origin = provenance.origin(classes.records(settings, results, others))
    tables.write(frame, folder / "cityscapes_classes", notes, origin, classes.shown)
    link = "Cityscapes by class: [tables/cityscapes_classes.md](tables/cityscapes_classes.md)."
    yield Section("cityscapes_classes", notes=link, origin=origin)


def failures(failed: list[Failure]) -> pd.DataFrame:
    """A row a failed run; the reason on one line."""
    return pd.DataFrame(
        [
            {"variant": f.variant, "seed": str(f.seed), "stage": f.stage}
            | {"reason": " ".join(f.reason.split()).replace("|", "\\|")}
            for f in failed
        ]
    )


def cost_tables(folder: Path, results: Results, published: dict[str, Any]) -> Iterator[Section]:
    """Write the tables of what blocks and networks cost."""
    files = efficiency.read(EFFICIENCY)
    if not files or not NETWORKS.exists():
        how = "`dvc repro efficiency networks` measures it, then `dvc repro -s report` shows it."
        yield Section("efficiency", "Efficiency", notes=f"Not measured. {how}")
        return
    blocks = efficiency.blocks(files, published["efficiency"])
    words = f"{efficiency.worth(blocks)}\n\n{efficiency.EFFICIENCY_NOTE}"
    notes = f"{words}\n\n{tables.DAGGER_NOTE}"
    origin = provenance.origin(files)
    table = tables.write(blocks, folder / "efficiency", notes, origin, efficiency.blocks_shown)
    yield Section("efficiency", "Efficiency", table=table, notes=words, origin=origin)
    file, words = read_json(NETWORKS), efficiency.NETWORKS_NOTE
    networks = efficiency.networks(file, results)
    origin = provenance.origin([file, *efficiency.trainings(networks, results)])
    table = tables.write(networks, folder / "networks", words, origin, efficiency.networks_shown)
    yield Section("networks", "Networks", table=table, notes=words, origin=origin)


def deviations_table(folder: Path, settings: params.Params, published: dict[str, Any]) -> Section:
    """Write the table of where paper, released code and profile differ."""
    frame, words = deviations.table(settings, published), deviations.notes(settings)
    origin = provenance.origin([])
    table = tables.write(frame, folder / "deviations", words, origin, lambda shown: shown)
    return Section("deviations", "Deviations", table=table, notes=words)


def beyond_table(
    folder: Path, settings: params.Params, results: Results, failed: list[Failure]
) -> Section:
    """Write the table of blocks beyond the paper's."""
    networks, rows = read_json(NETWORKS) if NETWORKS.exists() else None, settings.tables["beyond"]
    records = [r.record for row in rows for r in results[row]]
    origin = provenance.origin([*records, *([networks] if networks else [])])
    frame = beyond.table(settings, results, failed, networks)
    apart = separation(folder, "beyond", results, rows, origin)
    body = f"{apart}\n\n{beyond.NOTE}"
    notes = "\n\n".join([body.replace("](tables/", "]("), verdicts.interval_note(frame["n"])])
    table = tables.write(frame, folder / "beyond", notes, origin, beyond.shown)
    return Section("beyond", "Beyond the paper", table=table, notes=body, origin=origin)


def sections(folder: Path, settings: params.Params, results: Results) -> Iterator[Section]:
    """The page from top to bottom; writes the tables' files on the way."""
    published = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    others = read_imported(RESULTS)
    failed = read_failed(RESULTS)
    papers = list(paper_tables(folder, settings, results, failed, published))
    note = comparable_note(settings)
    title = f"Results: profile `{settings.profile}`" if note else "Results"
    claims = "\n".join(f"- {section.headline}" for section in papers if section.headline)
    yield Section("results", title, 1, notes="\n\n".join(filter(None, [claims, note])))
    yield from papers
    if failed:
        yield Section("failed", "Failed runs", intro=FAILED, table=failures(failed))
    if settings.checkpoints:
        yield imported_table(folder, settings, others, published)
    yield from comparison_tables(folder, settings, results, others, published)
    if "beyond" in settings.tables:
        yield beyond_table(folder, settings, results, failed)
    yield from cost_tables(folder, results, published)
    yield from figures.sections()
    yield from pictures.sections(settings, results)
    yield method.section(settings)
    yield deviations_table(folder, settings, published)
    yield Section("sources", "Where each number comes from", intro=SOURCES, table=sources(results))


def main() -> None:
    settings = params.load()
    results = read(RESULTS, list(settings.variants))
    drawn = figures.current(FIGURES)
    with whole_folder(REPORTS / "tables") as folder:
        page = [figures.illustrated(s, drawn) for s in sections(folder, settings, results)]
        origins = {section.name: section.origin for section in page if section.origin}
        write_json(folder / "provenance.json", origins)
    with whole_file(REPORTS / "README.md") as partial:
        partial.write_text(markdown.page(page), encoding="utf-8")
    with whole_file(REPORTS / "index.html") as partial:
        partial.write_text(html.page(page, REPORTS), encoding="utf-8")
    miou = {name: round(mean(runs), 2) for name, runs in results.items() if runs}
    claims = {section.name: section.metrics for section in page if section.metrics}
    write_json(REPORTS / "metrics.json", {"miou": miou, **claims})
    runs = sum(map(len, results.values()))
    print(f"{runs} runs; the report is {REPORTS}/index.html, and in short {REPORTS}/README.md")


if __name__ == "__main__":
    cli.run(main)
