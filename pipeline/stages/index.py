"""Stage index: make the page above the profiles' pages, from the files in reports/ alone.

    python -m pipeline index

It writes reports/index.html, reports/README.md and reports/tables, and the results in README.md.
"""

from pipeline.engine.files import whole_file
from pipeline.reporting.index import build_index, render_summary
from pipeline.reporting.inputs import read_overview
from pipeline.reporting.page.html import render_page
from pipeline.reporting.readme import render_results, replace_results
from pipeline.reporting.sections import write_tables
from pipeline.settings import params
from pipeline.settings.paths import INDEX, INDEX_SUMMARY, INDEX_TABLES, README, REPORTS


def main() -> None:
    overview = read_overview(params.load())
    sections = build_index(overview)
    write_tables(sections, INDEX_TABLES)
    for path, text in (
        (INDEX, render_page(sections, REPORTS)),
        (INDEX_SUMMARY, render_summary(sections)),
    ):
        with whole_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    if README.exists():
        text = README.read_text(encoding="utf-8")
        with whole_file(README) as partial:
            partial.write_text(replace_results(text, render_results(overview)), encoding="utf-8")
    names = ", ".join(e.experiment for e in overview.experiments) or "none"
    print(f"experiments: {names}; the index is {INDEX}")
