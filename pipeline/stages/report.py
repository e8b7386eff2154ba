"""Stage report: make the page and the tables, from the files in reports/ alone.

    python -m pipeline report

It needs neither data nor weights. It writes index.html, README.md, tables and metrics.json in
reports/PROFILE.
"""

from pipeline.engine.files import whole_file, write_json
from pipeline.reporting.assembly import build_report, list_metrics
from pipeline.reporting.inputs import read_inputs
from pipeline.reporting.page.html import render_page
from pipeline.reporting.sections import write_tables
from pipeline.reporting.summary import render_summary
from pipeline.settings import params
from pipeline.settings.paths import ReportPaths


def main() -> None:
    inputs = read_inputs(params.load())
    own = ReportPaths(inputs.settings.profile)
    sections = build_report(inputs)
    write_tables(sections, own.tables)
    for path, text in (
        (own.page, render_page(sections, own.folder)),
        (own.summary, render_summary(inputs, sections)),
    ):
        with whole_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    write_json(own.metrics, list_metrics(inputs, sections))
    runs = sum(map(len, inputs.results.values()))
    print(f"{runs} runs; the report is {own.page}, its summary {own.summary}")
