"""Stage report: the tables, from what the other stages left in reports/ alone.

    python -m pipeline.report

Needs neither data nor weights. Writes reports/tables, reports/README.md and reports/metrics.json.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline.collect import RESULTS
from pipeline.common import cli, params
from pipeline.common.files import read_json, whole_file, whole_folder, write_json
from pipeline.common.paths import EFFICIENCY, NETWORKS
from pipeline.tracking.runs import run_name
from pipeline.reporting import classes, comparisons, efficiency, imported, tables
from pipeline.reporting.results import Result, Results, mean, read, read_imported

REPORTS = Path("reports")
PUBLISHED = REPORTS / "published.yaml"

DAGGER_NOTE = f"{tables.DAGGER_NOTE} Published values: Cityscapes val, ResNet-101, single scale."
FIGURES = (
    "![Time of each operation](figures/operation-times.svg)\n\n"
    "![Time and memory against the number of positions](figures/cost-against-positions.svg)"
)
EMBEDDED_NOTE = (
    "These runs are on drawn scenes with a small network: **their numbers are not comparable with "
    "the paper's**. The scene and the recipe were tuned to make the mechanism visible; this shows "
    "that the code does what the paper says, and is no independent evidence for its claims."
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


def cost_tables(folder: Path, results: Results, published: dict[str, Any]) -> dict[str, str]:
    """Write the tables of what blocks and networks cost; returns their parts of the page."""
    files = efficiency.read(EFFICIENCY)
    if not files or not NETWORKS.exists():
        how = "`dvc repro efficiency networks` measures it, then `dvc repro -s report` shows it."
        return {"efficiency": f"Not measured. {how}"}
    blocks = efficiency.blocks(files, published["efficiency"])
    words = f"{efficiency.worth(blocks)}\n\n{efficiency.EFFICIENCY_NOTE}"
    notes = f"{words}\n\n{tables.DAGGER_NOTE}"
    table = tables.write(blocks, folder / "efficiency", notes, efficiency.blocks_shown)
    networks = efficiency.networks(read_json(NETWORKS), results)
    parts = {"efficiency": f"{table}\n\n{words}\n\n{FIGURES}"}
    table = tables.write(
        networks, folder / "networks", efficiency.NETWORKS_NOTE, efficiency.networks_shown
    )
    return parts | {"networks": f"{table}\n\n{efficiency.NETWORKS_NOTE}"}


def comparison_tables(
    folder: Path,
    settings: params.Params,
    results: Results,
    others: dict[str, Any],
    published: dict[str, Any],
) -> str:
    """Write the comparisons with what others published; returns their part of the page."""
    parts = [comparisons.ABOUT]
    for name, about in comparisons.COMPARISONS.items():
        frame = comparisons.table(settings, name, results, others, published)
        words = comparisons.notes(settings, name)
        notes = f"{comparisons.ABOUT}\n\n{words}"
        tables.write(frame, folder / name, notes, comparisons.shown)
        short = comparisons.compact(frame).to_markdown(index=False, disable_numparse=True)
        parts += [f"### {about.title}", str(short), words]
    frame = classes.table(settings, results, others, published)
    notes = classes.notes(settings, frame)
    tables.write(frame, folder / "cityscapes_classes", notes, classes.shown)
    return "\n\n".join(
        [
            *parts,
            "Cityscapes by class: [tables/cityscapes_classes.md](tables/cityscapes_classes.md).",
        ]
    )


def page(
    settings: params.Params, results: Results, parts: dict[str, str], more: dict[str, str]
) -> str:
    """reports/README.md; `parts` are the tables to which the note on mIoU belongs."""
    note = comparable_note(settings)
    sections = [f"# Results: profile `{settings.profile}`", note] if note else ["# Results"]
    for name, body in parts.items():
        sections += [f"## {name.capitalize()}", body]
    sections += [
        "mIoU in percent over the whole validation split, one confusion matrix, last iteration; "
        "mean ± standard deviation over the seeds. *to baseline* is the mean difference on equal "
        "seeds. " + DAGGER_NOTE,
    ]
    for name, body in more.items():
        sections += [f"## {name.capitalize()}", body]
    sections += [
        "## Where each number comes from",
        "A run's name is the same in every MLflow store: variant, seed, and the fingerprint of "
        "settings, data and code. `results.jsonl` holds the settings, libraries and machine of "
        "each, its per-class scores and its confusion matrix.",
        str(sources(results).to_markdown(index=False, disable_numparse=True)),
    ]
    return "\n\n".join(sections) + "\n"


def main() -> None:
    settings = params.load()
    published = yaml.safe_load(PUBLISHED.read_text())
    results, others = read(RESULTS, list(settings.variants)), read_imported(RESULTS)
    note = comparable_note(settings)
    parts: dict[str, str] = {}
    with whole_folder(REPORTS / "tables") as folder:
        for name in settings.tables:
            make = tables.ablation if name == "ablation" else tables.sampling
            words = tables.separation(settings, results, name)
            notes = "\n\n".join(filter(None, [words, DAGGER_NOTE, note]))
            markdown = tables.write(make(settings, results, published), folder / name, notes)
            parts[name] = f"{markdown}\n\n{words}"
        if settings.checkpoints:
            frame = imported.table(settings, others, published)
            notes = imported.notes(settings)
            markdown = tables.write(frame, folder / "imported", notes, imported.shown)
            parts["imported"] = f"{markdown}\n\n{notes}"
        more = {"comparisons": comparison_tables(folder, settings, results, others, published)}
        more |= cost_tables(folder, results, published)
    with whole_file(REPORTS / "README.md") as partial:
        partial.write_text(page(settings, results, parts, more))
    write_json(
        REPORTS / "metrics.json",
        {"miou": {name: round(mean(runs), 2) for name, runs in results.items() if runs}},
    )
    measured = sum(map(len, results.values()))
    print(f"{measured} runs; the tables are in {REPORTS}/README.md")


if __name__ == "__main__":
    cli.run(main)
