"""The report on one or two screens: reports/README.md."""

import os.path
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.reporting import provenance
from pipeline.reporting.claims import details
from pipeline.reporting.columns import Column, Table
from pipeline.reporting.comparable import explain_comparability
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.rendering import to_markdown
from pipeline.reporting.sections import Section
from pipeline.reporting.tables import paper
from pipeline.settings.paths import EFFICIENCY, INDEX, PLAN, PUBLISHED, ReportPaths
from pipeline.settings.schema import Params

PAIRS = (Column("what"), Column("value"))


def render_summary(inputs: Inputs, sections: list[Section]) -> str:
    """Return the summary: what was run, the main tables in short, and links to the rest."""
    return "\n\n".join(filter(None, _list_parts(inputs, sections))) + "\n"


def _list_parts(inputs: Inputs, sections: list[Section]) -> Iterator[str]:
    page = ReportPaths(inputs.settings.profile).page.name
    yield f"# Results of the profile `{inputs.settings.profile}`"
    yield explain_comparability(inputs.settings)
    yield f"This is the summary. [{page}]({page}) has everything on one page."
    results = next(section for section in sections if section.name == "results")
    yield "## The paper's claims"
    if results.table is not None:
        yield to_markdown(results.table)
    yield details.VERDICTS
    yield "## What was run"
    yield to_markdown(_describe_runs(inputs))
    for section in sections:
        if section.name in paper.PAPER_TABLES and section.table is not None:
            yield f"## {section.title}"
            yield to_markdown(paper.shorten_table(section.table))
    yield f"mIoU in percent, its standard deviation (sd) over n seeds. {paper.DAGGERS}"
    yield "## Where the rest is"
    yield "\n".join(_list_links(inputs.settings, sections))


def _describe_runs(inputs: Inputs) -> Table:
    settings = inputs.settings
    runs = [run for own in inputs.results.values() for run in own]
    origin = provenance.find_origin(run.record for run in runs)
    seeds = ", ".join(map(str, settings.seeds))
    total = len(settings.rows) * len(settings.seeds)
    failed = f", {len(inputs.failures)} failed" if inputs.failures else ""
    rows = {
        "profile": f"`{settings.profile}`",
        "data": _join([settings.data_title, *(f"digest {d[:12]}" for d in origin["data"])]),
        "runs": (
            f"{len(runs)} of {total} are measured{failed}: {len(settings.rows)} variants with "
            f"seeds {seeds}"
        ),
        "commit": _join(c[:10] for c in origin["commits"]) + _describe_changes(origin["dirty"]),
        "machine": _join(origin["hardware"]),
        "libraries": _join(origin["libraries"]),
        "training": "" if origin["hours"] is None else f"{origin['hours']:.2f} hours in all",
    }
    frame = pd.DataFrame([(what, value) for what, value in rows.items() if value])
    return Table(frame.set_axis(["what", "value"], axis=1), PAIRS)


def _describe_changes(dirty: bool | None) -> str:
    return ", with uncommitted changes" if dirty else ""


def _join(values: Any) -> str:
    return ", ".join(values)


def _describe_files(settings: Params) -> dict[Path, str]:
    own = ReportPaths(settings.profile)
    return {
        own.page: "everything on one page, for a browser, offline",
        own.figures: "the figures as SVG and PDF, with their data as CSV",
        own.pictures: "predictions and attention maps",
        own.results: "each run with its scores, settings, libraries and machine",
        own.curves: "the losses",
        PUBLISHED: "the figures of the paper and of others, with their sources",
        EFFICIENCY: "what blocks cost, a file for each machine",
        own.networks: "what networks cost",
        PLAN: "what the experiment costs, predicted",
        own.metrics: "the scores and the counts of verdicts, for `dvc metrics`",
        INDEX: "all experiments, and the comparison tables",
    }


def _list_links(settings: Params, sections: list[Section]) -> Iterator[str]:
    """Yield a line for each table's file and for all else in reports/ that there is."""
    own = ReportPaths(settings.profile)
    for section in sections:
        if section.name == "failed":
            yield f"- [Failed runs]({own.page.name}#failed): the runs without a score, and why"
    files = [file.name for section in sections for file in section.files]
    links = ", ".join(f"[{name}]({own.tables.name}/{name}.md)" for name in files)
    name = own.tables.name
    yield f"- [{name}/]({name}/): all tables as Markdown, CSV and LaTeX: {links}"
    written = (own.page, own.metrics, PLAN, INDEX)  # always, and maybe after the summary
    for path, words in _describe_files(settings).items():
        if path in written or path.exists():
            name = Path(os.path.relpath(path, own.folder)).as_posix() + "/" * path.is_dir()
            yield f"- [{name.removeprefix('../')}]({name}): {words}"
