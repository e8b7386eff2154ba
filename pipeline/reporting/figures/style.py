"""How figures look and how they are written: SVG, PDF and CSV, the same bytes for the same data.

Text and axes take the colour of the text around them, light or dark, and the colours of the data
are seen on both; the ground is transparent.
"""

import re
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

INK, INK_AT_NIGHT = "#1f2328", "#e6e8eb"
BLUE, ORANGE, GREEN = "#3a87c8", "#d9822b", "#2f9e73"
RED, PURPLE, GREY = "#d4506a", "#8a6fd1", "#8b9199"
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, GREY)

RC: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "figure.figsize": (7.2, 3.6),
    "font.size": 9,
    "grid.alpha": 0.18,
    "grid.color": INK,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "pdf.fonttype": 42,
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "ann",
    "text.color": INK,
    "xtick.color": INK,
    "xtick.labelsize": 8,
    "ytick.color": INK,
    "ytick.labelsize": 8,
}
plt.rcParams.update(RC)

_STYLE = (
    f"<style>svg{{color:{INK}}}"
    f"@media screen and (prefers-color-scheme:dark){{svg{{color:{INK_AT_NIGHT}}}}}</style>"
)


def save(figure: Figure, frame: pd.DataFrame, stem: Path, source: str) -> None:
    """Write stem.svg, stem.pdf and, of the data, stem.csv; source: where they come from."""
    save_svg(figure, stem.with_suffix(".svg"), source)
    figure.set_layout_engine("none")  # as it was laid out for the first
    figure.savefig(stem.with_suffix(".pdf"), metadata={"CreationDate": None, "Subject": source})
    plt.close(figure)
    frame.to_csv(stem.with_suffix(".csv"), index=False, lineterminator="\n", float_format="%.4f")


def save_svg(figure: Figure, file: Path, source: str) -> None:
    """Write an SVG whose ink has the colour of the text around it; source: where it comes from."""
    figure.savefig(file, metadata={"Date": None, "Creator": None, "Description": source})
    text = file.read_text(encoding="utf-8").replace(INK, "currentColor")
    file.write_text(re.sub(r"(<svg [^>]*>)", rf"\1{_STYLE}", text, count=1), encoding="utf-8")
