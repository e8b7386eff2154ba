"""The paper's comparison tables: the literature, other people's ANN, and what is measured here.

A figure of the test split and one of the val split never share a column.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd

from pipeline.reporting import measured, provenance
from pipeline.reporting.columns import Column, Number, Row, Table
from pipeline.reporting.inputs import Inputs, Overview
from pipeline.reporting.published import DAGGER_NOTE, mark_status
from pipeline.reporting.sections import Section, TableFile
from pipeline.reporting.tables.rows import UNMEASURED
from pipeline.settings.fields import Protocol
from pipeline.settings.records import Scores
from pipeline.settings.schema import Params

PROTOCOLS: dict[Protocol, str] = {
    "whole": "val whole",
    "sliding": "val sliding",
    "multi_scale": "val multi-scale",
}
EXTERNAL_COLUMN = "val external"
SINGLE, MULTI, SD = "val single scale", "val multi-scale", " sd"
PUBLISHED = ("test multi-scale", SINGLE, MULTI)
TRAINED, IMPORTED, EXTERNAL = "trained here", "imported", "external"


ABOUT = (
    "mIoU in percent. Each column names the split, test or val, and the protocol. *multi-scale* of "
    "the literature comes from the authors' README. *single scale* has published figures of whole "
    "images or of windows, as their source evaluates. Rows *trained here* and *imported* use the "
    "protocols of params.yaml and show mean ± standard deviation over the seeds. They have numbers "
    "on the real data only. Rows *external* are label files that others predicted, scored here by "
    f"the same confusion matrix. {DAGGER_NOTE}"
)


@dataclass(frozen=True)
class Comparison:
    """The table of one dataset.

    Attributes:
        title: Its heading.
        measures: The mIoUs in a protocol's scores on this dataset, and the ends of their columns'
            headings.
        note: What stands below this table alone.
    """

    title: str
    measures: dict[str, str]
    note: str = ""


COMPARISONS = {
    "cityscapes": Comparison("Cityscapes", {"miou": "", "category_miou": " category IoU"}),
    "ade20k": Comparison("ADE20K", {"miou": ""}),
    "pascal_context": Comparison(
        "PASCAL Context",
        {"miou": " 59 classes", "miou_with_background": " 60 classes"},
        "The 60 classes are the 59 and background. The source of the published figures does not "
        "say whether they count background, so they have a column of their own.",
    ),
}


def _list_literature(name: str, published: Row) -> Iterator[Row]:
    """Yield methods with multi-scale testing, on the split that the key names."""
    entry = published["literature"]
    for key, methods in entry.items():
        if key.startswith(f"{name}_"):
            column = f"{key.removeprefix(f'{name}_')} multi-scale"
            for method, backbone, miou in methods:
                own = "ANN, the paper" if method == "ANN" else method
                row = {"source": "literature", "method": own, "backbone": backbone}
                yield row | {column: miou, "status": entry["status"]}


def _list_authors(name: str, published: Row) -> Iterator[Row]:
    """Yield the authors' figures on Cityscapes val of the two networks that are trained here."""
    if name != "cityscapes":
        return
    row = {"source": "literature", "backbone": "ResNet-101"}
    entry = published["cityscapes_val_ablation"]
    for key, method in (("baseline", "baseline, the paper"), ("afnb+apnb", "ANN, the paper")):
        yield row | {"method": method, SINGLE: entry["rows"][key], "status": entry["status"]}
    entry = published["cityscapes_val_class_iou"]
    miou = round(measured.compute_released_miou(published), 1)
    yield row | {"method": "ANN, released model", SINGLE: miou, "status": entry["status"]}


def _list_reproductions(name: str, published: Row) -> Iterator[Row]:
    """Yield other people's ANN on val."""
    entry = published["reproductions"]
    for row in entry["rows"]:
        if row["dataset"] != name:
            continue
        length = [f"{row[key]} {key}" for key in ("iterations", "epochs") if key in row]
        yield {
            "source": "reproduction",
            "method": f"ANN, {row['project']}",
            "backbone": row["backbone"],
            "training": ", ".join([f"crop {row['crop']}", *length]),
            "status": entry["status"],
        } | {column: row[key] for key, column in (("ss", SINGLE), ("ms", MULTI)) if key in row}


def _list_own(overview: Overview, name: str) -> Iterator[Row]:
    """Yield the rows of each experiment on these data; of none, rows that are not measured."""
    experiments = _select_experiments(overview, name)
    for inputs in experiments:
        end = f", {inputs.experiment}" if len(experiments) > 1 else ""
        yield from _list_trained(inputs, name, end)
    if not experiments:
        settings, profile = overview.settings, find_profile(overview.settings, name)
        for variant in measured.list_published_variants(settings, measured.BASELINE, measured.ANN):
            network = settings.resolve_network(variant, profile) if profile else {}
            yield _describe_trained(name, variant, network, [])


def _select_experiments(overview: Overview, name: str) -> list[Inputs]:
    """Return the experiments on a real dataset."""
    return [e for e in overview.experiments if measured.is_real_data(e.settings, name)]


def _list_trained(inputs: Inputs, name: str, end: str) -> Iterator[Row]:
    """Yield the baseline and the full network for each backbone, and the imported checkpoints.

    Args:
        inputs: The experiment.
        name: The dataset.
        end: The end of each method's name.
    """
    settings = inputs.settings
    for variant in measured.list_published_variants(settings, measured.BASELINE, measured.ANN):
        runs = measured.select_runs(settings, inputs.results, name, variant)
        network = settings.resolve_network(variant)
        yield _describe_trained(name, variant + end, network, [run.scores for run in runs])
    for checkpoint, result in measured.select_checkpoints(settings, inputs.imported, name).items():
        backbone = _name_backbone(result.record.network)
        row = {"source": IMPORTED, "method": checkpoint + end, "backbone": backbone, "n": 1}
        yield row | _average_scores(name, [result.scores])


def _describe_trained(
    name: str, method: str, network: Mapping[str, object], scores: list[Scores]
) -> Row:
    own = {"source": TRAINED, "method": method, "backbone": _name_backbone(network)}
    return own | {"n": len(scores)} | _average_scores(name, scores)


def _list_external(overview: Overview, name: str) -> Iterator[Row]:
    """Yield label files that others predicted on these data."""
    settings = overview.settings
    for line in overview.external:
        if line.profile in settings.profiles and measured.is_real_data(
            settings.view(line.profile), name
        ):
            row = {"source": EXTERNAL, "method": line.name, "backbone": "-"}
            miou = 100 * line.scores.miou
            yield row | {"training": line.source, EXTERNAL_COLUMN: miou}


def _name_backbone(network: Mapping[str, object]) -> str:
    return str(network.get("backbone", "-")).replace("resnet", "ResNet-")


def _average_scores(name: str, scores: list[Scores]) -> Row:
    """Return mean and standard deviation in percent for each of our columns; nan without runs."""
    row = {}
    for measure, words in COMPARISONS[name].measures.items():
        for protocol, title in PROTOCOLS.items():
            known = [s.protocols[protocol] for s in scores if protocol in s.protocols]
            values = [100 * v for s in known if (v := getattr(s, measure)) is not None]
            row[title + words] = np.mean(values) if values else np.nan
            row[title + words + SD] = np.std(values, ddof=1) if len(values) > 1 else np.nan
    return row


def _collect_records(overview: Overview, name: str) -> Iterator[provenance.Source]:
    """Yield the records of the runs and checkpoints that the table shows."""
    for inputs in _select_experiments(overview, name):
        settings = inputs.settings
        for variant in measured.list_published_variants(settings, measured.BASELINE, measured.ANN):
            runs = measured.select_runs(settings, inputs.results, name, variant)
            yield from (run.record for run in runs)
        yield from measured.select_checkpoints(settings, inputs.imported, name).values()


def find_profile(settings: Params, name: str) -> str | None:
    """Return the first profile whose runs fill the table; None if there is none."""
    real = (p for p in settings.profiles if measured.is_real_data(settings.view(p), name))
    return next(real, None)


def build_frame(overview: Overview, name: str) -> pd.DataFrame:
    """Return a row for each method, a column for each split and protocol.

    mIoU in percent, nan where there is none.
    """
    lists = (_list_literature, _list_authors, _list_reproductions)
    published = (each(name, overview.published) for each in lists)
    rows = chain(*published, _list_own(overview, name), _list_external(overview, name))
    frame = pd.DataFrame([{"training": "", "status": ""} | row for row in rows])
    ours = list(_average_scores(name, []))
    order = [c for c in PUBLISHED if c in frame and c not in ours] + ours
    order += [EXTERNAL_COLUMN] * (EXTERNAL_COLUMN in frame)
    frame = frame.reindex(
        columns=["source", "method", "backbone", "training", "status", "n", *order]
    )
    return frame.astype({"n": "Int64"})


def _format_training(row: Row) -> str:
    seeds = f"seeds: {row['n']}" if row["source"] == TRAINED else ""
    return row["training"] or seeds


def _score_column(key: str, ours: bool) -> Column:
    """Return a column of published and own scores; ours: whether the own ones are by this one."""

    def format_score(row: Row) -> str:
        if row["source"] not in (TRAINED, IMPORTED, EXTERNAL):  # as it was published
            return f"{row[key]}{mark_status(row['status'])}"
        spread = row.get(f"{key}{SD}")
        return f"{row[key]:.2f}" + ("" if pd.isna(spread) else f" ± {spread:.2f}")

    def explain(row: Row) -> str:
        return UNMEASURED if ours and row["source"] in (TRAINED, IMPORTED) else ""

    return Number(key, format=format_score, missing=explain)


def build_table(overview: Overview, name: str) -> Table:
    frame = build_frame(overview, name)
    scores = [
        _score_column(key, f"{key}{SD}" in frame)
        for key in map(str, frame)
        if f"{key}{SD}" in frame or key in (*PUBLISHED, EXTERNAL_COLUMN)
    ]
    own = [Column(key) for key in ("source", "method", "backbone")]
    return Table(frame, (*own, Column("training", format=_format_training), *scores))


def shorten_table(table: Table) -> Table:
    """Leave out the second measure's columns if nothing is measured in them."""
    extra = ("category IoU", "60 classes")
    columns = [
        c for c in table.columns if not c.key.endswith(extra) or table.frame[c.key].notna().any()
    ]
    return Table(table.frame, tuple(columns))


def explain_runs(settings: Params, name: str) -> str:
    """Return what is to be said of this table alone, with how to measure our rows."""
    return "\n\n".join(filter(None, [COMPARISONS[name].note, _explain_commands(settings, name)]))


def _explain_commands(settings: Params, name: str) -> str:
    profile = find_profile(settings, name)
    if profile is None:
        return f"No profile in params.yaml is of {COMPARISONS[name].title}, to measure our rows."
    data = settings.profiles[profile].data
    return (
        f"To measure our rows, set `data.{data}` in params.yaml to the data's folder. Then run "
        f"`python -m pipeline use {profile}` and `dvc repro`. The profile's `rows` and `seeds` say "
        f"what that trains, its `evaluate` by which protocols it is scored."
    )


def build_sections(overview: Overview) -> Iterator[Section]:
    """Return a section on all comparisons, and one for each dataset."""
    yield Section("comparisons", "Comparisons", notes=ABOUT)
    for name, comparison in COMPARISONS.items():
        table, words = build_table(overview, name), explain_runs(overview.settings, name)
        origin = provenance.find_origin(_collect_records(overview, name))
        yield Section(
            name,
            comparison.title,
            3,
            table=shorten_table(table),
            notes=words,
            origin=origin,
            files=(TableFile(name, table, f"{ABOUT}\n\n{words}", origin),),
        )
