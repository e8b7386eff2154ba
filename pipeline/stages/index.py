"""Stage index: make the page above the profiles' pages, from the files in reports/ alone.

    python -m pipeline index

It writes reports/index.html, reports/README.md and reports/tables, the results in README.md, and
the speed in docs/performance.md.
"""

from pipeline.engine.files import whole_file
from pipeline.reporting.index import build_index, render_summary
from pipeline.reporting.inputs import read_overview
from pipeline.reporting.markers import replace_block
from pipeline.reporting.page.html import render_page
from pipeline.reporting.readme import render_results
from pipeline.reporting.sections import write_tables
from pipeline.reporting.speed import render_speed
from pipeline.settings import params
from pipeline.settings.paths import INDEX, INDEX_SUMMARY, INDEX_TABLES, PERFORMANCE, README, REPORTS


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
    for path, render in ((README, render_results), (PERFORMANCE, render_speed)):
        if path.exists():
            text = replace_block(path.read_text(encoding="utf-8"), render(overview))
            with whole_file(path) as partial:
                partial.write_text(text, encoding="utf-8")
    names = ", ".join(e.experiment for e in overview.experiments) or "none"
    print(f"experiments: {names}; the index is {INDEX}")
