"""Stage figures: draw the numbers of the tables, from the files in reports/ alone.

    python -m pipeline figures

It writes each figure as SVG and PDF, and its data as CSV, to reports/PROFILE/figures. A figure
without data is left out, and the report says what it needs.
"""

import pandas as pd

from pipeline.engine.files import whole_folder, write_json
from pipeline.reporting.figures import style
from pipeline.reporting.figures.drawing import draw_figures
from pipeline.reporting.figures.gallery import digest_inputs
from pipeline.reporting.inputs import read_inputs
from pipeline.reporting.provenance import describe_origin, find_origin
from pipeline.settings import params
from pipeline.settings.paths import FIGURE_INPUTS, ReportPaths


def main() -> None:
    inputs = read_inputs(params.load())
    own = ReportPaths(inputs.settings.profile)
    losses = pd.read_csv(own.curves) if own.curves.exists() else None
    with whole_folder(own.figures) as folder:
        for name, frame, figure, records in draw_figures(inputs, losses):
            style.save(figure, frame, folder / name, describe_origin(find_origin(records)))
        write_json(folder / FIGURE_INPUTS, digest_inputs(own))
    print(f"the figures are in {own.figures}")
