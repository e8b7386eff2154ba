"""Stage report: make the page and the tables, from the files in reports/ alone.

    python -m pipeline report

It needs neither data nor weights. It writes index.html, README.md, tables, metrics.json and a page
for each variant in reports/PROFILE.
"""

import pandas as pd

from pipeline.engine.files import whole_file, whole_folder, write_json
from pipeline.reporting.assembly import build_report, list_metrics
from pipeline.reporting.figures import curves
from pipeline.reporting.inputs import Inputs, read_inputs
from pipeline.reporting.page.html import render_page
from pipeline.reporting.provenance import describe_origin, find_origin
from pipeline.reporting.sections import write_tables
from pipeline.reporting.summary import render_summary
from pipeline.reporting.variants import build_pages
from pipeline.settings import params
from pipeline.settings.paths import ReportPaths


def write_variants(inputs: Inputs, own: ReportPaths) -> None:
    """Write a page for each variant, and its curve."""
    losses = pd.read_csv(own.curves) if own.curves.exists() else None
    with whole_folder(own.variants) as folder:
        for page in build_pages(inputs, has_curves=losses is not None):
            if page.curve and losses is not None:
                own_losses = losses[losses["variant"] == page.variant]
                source = describe_origin(
                    find_origin(run.record for run in inputs.results[page.variant])
                )
                curves.write_variant(own_losses, folder / page.curve, source)
            text = render_page(page.sections, folder, home="../")
            (folder / f"{page.variant}.html").write_text(text, encoding="utf-8")


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
    write_variants(inputs, own)
    runs = sum(map(len, inputs.results.values()))
    print(f"{runs} runs; the report is {own.page}, its summary {own.summary}")
