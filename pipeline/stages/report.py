"""Stage report: make the page and the tables, from the files in reports/ alone.

    python -m pipeline report

It needs neither data nor weights. It writes reports/index.html, reports/README.md, reports/tables
and reports/metrics.json.
"""

from pipeline.engine.files import whole_file, whole_folder, write_json
from pipeline.reporting.assembly import build_report, list_metrics
from pipeline.reporting.inputs import read_inputs
from pipeline.reporting.page.html import render_page
from pipeline.reporting.provenance import line
from pipeline.reporting.rendering import write_files
from pipeline.reporting.summary import render_summary
from pipeline.settings import params
from pipeline.settings.paths import METRICS, ORIGINS, PAGE, REPORTS, SUMMARY, TABLES


def main() -> None:
    inputs = read_inputs(params.load())
    sections = build_report(inputs)
    with whole_folder(TABLES) as folder:
        for file in (file for section in sections for file in section.files):
            write_files(file.table, folder / file.name, file.notes, line(file.origin, runs=True))
        write_json(folder / ORIGINS, {s.name: s.origin for s in sections if s.origin})
    for path, text in (
        (PAGE, render_page(sections, REPORTS)),
        (SUMMARY, render_summary(inputs, sections)),
    ):
        with whole_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    write_json(METRICS, list_metrics(inputs, sections))
    runs = sum(map(len, inputs.results.values()))
    print(f"{runs} runs; the report is {PAGE}, its summary {SUMMARY}")
