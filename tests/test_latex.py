"""The tables and figures as a paper takes them: one document with all of them compiles."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

# What is wider or higher than the page is made smaller, as a paper would.
PREAMBLE = r"""\documentclass{article}
\usepackage[a4paper,landscape,margin=1cm]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
\newsavebox{\held}
\newcommand{\fit}[1]{\sbox{\held}{\input{#1}}%
\ifdim\wd\held>\textwidth\sbox{\held}{\resizebox{\textwidth}{!}{\usebox{\held}}}\fi
\ifdim\dimexpr\ht\held+\dp\held\relax>.85\textheight
\sbox{\held}{\resizebox*{!}{.85\textheight}{\usebox{\held}}}\fi
\usebox{\held}}
\begin{document}
"""


@pytest.mark.skipif(
    shutil.which("pdflatex") is None,
    reason="TeX is not installed; `apt-get install texlive-latex-base texlive-latex-recommended`",
)
def test_a_paper_with_every_table_and_figure_compiles(reports: Path, tmp_path: Path) -> None:
    tables = sorted(reports.glob("tables/*.tex"))
    figures = sorted(reports.glob("figures/*.pdf"))
    assert len(tables) > 8
    assert len(figures) == 8
    parts = []
    for number, table in enumerate(tables):
        held = rf"\label{{table:{number}}}\centering\fit{{{table}}}"
        parts.append(rf"\begin{{table}}[p]\caption{{A table.}}{held}\end{{table}}\clearpage")
    for figure in figures:
        held = rf"\centering\includegraphics[width=.7\textwidth]{{{figure}}}\caption{{A figure.}}"
        parts.append(rf"\begin{{figure}}[p]{held}\end{{figure}}\clearpage")
    document = tmp_path / "paper.tex"
    document.write_text(PREAMBLE + "\n".join(parts) + "\n\\end{document}\n", encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", document.name],
        cwd=tmp_path,
        capture_output=True,
        errors="replace",
        timeout=120,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout[-2000:]
    pages = re.search(r"Output written on paper.pdf \((\d+) pages", done.stdout)
    assert pages is not None
    assert int(pages[1]) == len(tables) + len(figures)
    assert "Overfull" not in done.stdout
    assert "Missing character" not in done.stdout
