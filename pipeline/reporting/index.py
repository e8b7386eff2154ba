"""The index above the profiles' pages: every experiment that has results here."""

from collections.abc import Iterator

import pandas as pd

from pipeline.reporting import provenance
from pipeline.reporting.claims import sections as claims
from pipeline.reporting.columns import Column, Number, Table
from pipeline.reporting.inputs import Inputs, Overview
from pipeline.reporting.rendering import to_markdown
from pipeline.reporting.sections import Section
from pipeline.reporting.tables import comparisons
from pipeline.settings.paths import INDEX, INDEX_TABLES, PUBLISHED, REPORTS, RESULTS, ReportPaths
from pipeline.settings.records import RunLine
from pipeline.settings.runs import has_current_settings

COLUMNS = (
    Column("experiment"),
    Column("data"),
    Number("variants"),
    Column("seeds"),
    Number("runs"),
    Column("commit"),
    Column("machine"),
)
SUMMARISED = ("claims", "cost_claims", "experiments")
NONE = "There are no results yet; `dvc repro` makes them."


def build_index(overview: Overview) -> list[Section]:
    """Return the sections of the index page."""
    return [
        *claims.build_overview(overview),
        build_experiments(overview),
        *comparisons.build_sections(overview),
    ]


def build_experiments(overview: Overview) -> Section:
    """Return a row for each experiment."""
    experiments = overview.experiments
    frame = pd.DataFrame([_describe(e) for e in experiments], columns=[c.key for c in COLUMNS])
    notes = "\n".join(_list_notes(experiments)) if experiments else NONE
    return Section("experiments", "Experiments", table=Table(frame, COLUMNS), notes=notes)


def render_summary(sections: list[Section]) -> str:
    """Return the index as Markdown, the ledger first: reports/README.md."""
    parts = [
        "# Results of all experiments",
        f"This is the summary. [{INDEX.name}]({INDEX.name}) has everything on one page.",
    ]
    for section in sections:
        if section.name in SUMMARISED:
            parts.append(f"## {section.title}")
            if section.table is not None and len(section.table.frame):
                parts.append(to_markdown(section.table))
            parts.append(section.notes)
    parts += ["## Where the rest is", "\n".join(_list_links(sections))]
    return "\n\n".join(filter(None, parts)) + "\n"


def _list_links(sections: list[Section]) -> Iterator[str]:
    for section in sections:
        for file in section.files:
            yield f"- [{section.title}]({INDEX_TABLES.name}/{file.name}.md)"
    yield f"- [{RESULTS.name}/]({RESULTS.name}/): each run of each experiment, a line each"
    yield f"- [{PUBLISHED.name}]({PUBLISHED.name}): the published figures, with their sources"


def _list_runs(inputs: Inputs) -> list[RunLine]:
    return [run for runs in inputs.results.values() for run in runs]


def _describe(inputs: Inputs) -> dict[str, object]:
    runs = _list_runs(inputs)
    origin = provenance.find_origin([run.record for run in runs] or list(inputs.imported.values()))
    titles = dict.fromkeys(run.record.dataset.title for run in runs)
    return {
        "experiment": _link_page(inputs),
        "data": ", ".join(titles) or inputs.settings.data_title,
        "variants": sum(map(bool, inputs.results.values())),
        "seeds": " ".join(str(seed) for seed in sorted({run.seed for run in runs})),
        "runs": len(runs),
        "commit": ", ".join(commit[:10] for commit in origin["commits"]),
        "machine": ", ".join(origin["hardware"]),
    }


def _link_page(inputs: Inputs) -> str:
    """Return an experiment's name, linked to its page; results that were merged have none."""
    name, page = inputs.experiment, ReportPaths(inputs.experiment).page
    is_own = name == inputs.settings.profile
    return f"[{name}]({page.relative_to(REPORTS).as_posix()})" if is_own else name


def _list_notes(experiments: list[Inputs]) -> Iterator[str]:
    for inputs in experiments:
        if rows := _list_changed(inputs):
            yield (
                f"- **{inputs.experiment}**: params.yaml had other settings when these rows were "
                f"trained: {', '.join(rows)}. The results are valid for their commit. `python -m "
                f"pipeline use {inputs.settings.profile}` and `dvc repro` train them again."
            )


def _list_changed(inputs: Inputs) -> list[str]:
    """Return the rows that were trained with other settings than params.yaml has now."""
    settings = inputs.settings
    return [
        name
        for name, runs in inputs.results.items()
        if any(not has_current_settings(settings, run.record) for run in runs)
    ]
