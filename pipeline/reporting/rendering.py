"""Write a table as Markdown, HTML, LaTeX and CSV, all from the same frame and columns."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from pipeline.engine.files import whole_file
from pipeline.reporting.columns import DAGGER, Table

TEMPLATES = Path(__file__).with_name("page")
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
# pandas escapes LaTeX's special characters, but not these.
_LATEX = str.maketrans({"<": "$<$", ">": "$>$", "±": r"$\pm$", DAGGER: r"$^\dagger$", "`": None})


def to_markdown(table: Table) -> str:
    cells = table.format_cells().map(lambda text: text.replace("|", r"\|"))
    sides = [column.align for column in table.columns]
    return str(cells.to_markdown(index=False, disable_numparse=True, colalign=sides))


def to_latex(table: Table) -> str:
    """Return a tabular for the package booktabs."""

    def translate(text: object) -> str:
        return str(text).translate(_LATEX)

    style = table.format_cells().style.hide(axis="index")
    style = style.format(translate, escape="latex")
    style = style.format_index(translate, escape="latex", axis=1)
    sides = "".join(column.align[0] for column in table.columns)
    return str(style.to_latex(column_format=sides, hrules=True))


def to_csv(table: Table) -> str:
    """Return all of the frame, also what no column shows."""
    return str(table.frame.to_csv(index=False, lineterminator="\n", float_format="%.4f"))


def to_html(table: Table, label: str) -> Markup:
    """Return a table that scrolls and sorts; Markdown in its cells becomes HTML.

    Args:
        table: The table.
        label: Its name for a reader who does not see it.
    """
    template = make_environment().get_template("table.html.j2")
    rows = table.format_cells().to_numpy().tolist()
    return Markup(template.render(columns=table.columns, rows=rows, label=label))


def write_files(table: Table, stem: Path, notes: str, source: str) -> None:
    """Write stem.csv, stem.md and stem.tex.

    Args:
        table: The table.
        stem: The files' path without a suffix.
        notes: What stands below the table in Markdown.
        source: Where the numbers come from, in one line.
    """
    for suffix, text in (
        (".csv", to_csv(table)),
        (".md", f"{to_markdown(table)}\n\n{notes}\n\n{source}\n"),
        (".tex", f"% {source}\n{to_latex(table)}"),
    ):
        with whole_file(stem.with_suffix(suffix)) as partial:
            partial.write_text(text, encoding="utf-8")


def convert_markdown(text: str) -> Markup:
    """Return Markdown as HTML; what looks like HTML in it stays text."""
    return Markup(_MARKDOWN.render(text))


def make_environment() -> Environment:
    """Return Jinja's environment for the templates of the page."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "markdown": convert_markdown,
        "inline": lambda text: Markup(_MARKDOWN.renderInline(text)),
        "table": to_html,
    }
    return environment
