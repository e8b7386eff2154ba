"""Stage report: the page and the tables, from what the other stages left in reports/ alone.

    python -m pipeline.report

Needs neither data nor weights. Writes reports/index.html, reports/README.md,
reports/tables and reports/metrics.json.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline.collect import RESULTS
from pipeline.common import cli, params
from pipeline.common.files import read_json, whole_file, whole_folder, write_json
from pipeline.common.paths import EFFICIENCY, NETWORKS, PUBLISHED
from pipeline.common.tracking import run_name
from pipeline.reporting import (
    classes,
    comparisons,
    efficiency,
    figures,
    html,
    imported,
    markdown,
    method,
    pictures,
    tables,
)
from pipeline.reporting.results import Result, Results, mean, read, read_imported
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
    "mean ± standard deviation over the seeds. *to baseline* is the mean difference on equal seeds."
)
SOURCES = (
    "A run's name is the same in every MLflow store: variant, seed, and the fingerprint of "
    "settings, data and code. `results.jsonl` holds the settings, libraries and machine of "
    "each, its per-class scores and its confusion matrix."
)
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
    code, environment = record["code"], record["environment"]
    commit = (code["commit"] or "unknown")[:10] + (" + changes" if code["dirty"] else "")
    device = environment["cpu"] if environment["device"] == "cpu" else environment["device"]
    return {
        "MLflow run": run_name(record),
        "mIoU": f"{result.miou:.2f}",
        "commit": commit,
        "data": record["dataset"]["digest"][:12],
        "seconds": f"{record['speed']['seconds']:.0f}",
        "precision": record["config"]["train"]["precision"],
        "machine": f"{device}, torch {environment['libraries']['torch']}",
    }


def paper_tables(
    folder: Path,
    settings: params.Params,
    results: Results,
    others: dict[str, Any],
    published: dict[str, Any],
) -> Iterator[Section]:
    """Write the paper's tables and the imported checkpoints'."""
    note = comparable_note(settings)
    for name in settings.tables:
        make = tables.ablation if name == "ablation" else tables.sampling
        words = tables.separation(settings, results, name)
        notes = "\n\n".join(filter(None, [words, DAGGER_NOTE, note]))
        table = tables.write(make(settings, results, published), folder / name, notes)
        yield Section(name, name.capitalize(), table=table, notes=words)
    if settings.checkpoints:
        frame = imported.table(settings, others, published)
        words = imported.notes(settings)
        table = tables.write(frame, folder / "imported", words, imported.shown)
        yield Section("imported", "Imported", table=table, notes=words)
    yield Section("reading", notes=f"{READING} {DAGGER_NOTE}")


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
        tables.write(frame, folder / name, f"{comparisons.ABOUT}\n\n{words}", comparisons.shown)
        yield Section(name, about.title, 3, table=comparisons.compact(frame), notes=words)
    frame = classes.table(settings, results, others, published)
    tables.write(
        frame, folder / "cityscapes_classes", classes.notes(settings, frame), classes.shown
    )
    link = "Cityscapes by class: [tables/cityscapes_classes.md](tables/cityscapes_classes.md)."
    yield Section("cityscapes_classes", notes=link)


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
    table = tables.write(blocks, folder / "efficiency", notes, efficiency.blocks_shown)
    yield Section("efficiency", "Efficiency", table=table, notes=words)
    networks = efficiency.networks(read_json(NETWORKS), results)
    words = efficiency.NETWORKS_NOTE
    table = tables.write(networks, folder / "networks", words, efficiency.networks_shown)
    yield Section("networks", "Networks", table=table, notes=words)


def sections(folder: Path, settings: params.Params, results: Results) -> Iterator[Section]:
    """The page from top to bottom; writes the tables' files on the way."""
    published, others = yaml.safe_load(PUBLISHED.read_text()), read_imported(RESULTS)
    note = comparable_note(settings)
    title = f"Results: profile `{settings.profile}`" if note else "Results"
    yield Section("results", title, 1, notes=note)
    yield from paper_tables(folder, settings, results, others, published)
    yield from comparison_tables(folder, settings, results, others, published)
    yield from cost_tables(folder, results, published)
    yield from figures.sections()
    yield from pictures.sections()
    yield method.section(settings)
    yield Section("sources", "Where each number comes from", intro=SOURCES, table=sources(results))


def main() -> None:
    settings = params.load()
    results = read(RESULTS, list(settings.variants))
    with whole_folder(REPORTS / "tables") as folder:
        page = [figures.illustrated(s) for s in sections(folder, settings, results)]
    with whole_file(REPORTS / "README.md") as partial:
        partial.write_text(markdown.page(page))
    with whole_file(REPORTS / "index.html") as partial:
        partial.write_text(html.page(page, REPORTS))
    write_json(
        REPORTS / "metrics.json",
        {"miou": {name: round(mean(runs), 2) for name, runs in results.items() if runs}},
    )
    measured = sum(map(len, results.values()))
    print(f"{measured} runs; the report is {REPORTS}/index.html, and in short {REPORTS}/README.md")


if __name__ == "__main__":
    cli.run(main)
