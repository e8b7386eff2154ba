"""What may mend fusing by attention, beside AFNB as the paper has it and common fusion."""

from pipeline.reporting import provenance
from pipeline.reporting.columns import Column, Table
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.sections import Section
from pipeline.reporting.tables import rows

NOTE = (
    "The paper has no figures for these rows. The authors advise a batch norm after W_o in their "
    "tracker. Adding W_o(O) to X in place of concatenation is the paper's other choice. "
    "docs/afnb.md says why AFNB needs a remedy."
)


def build_table(inputs: Inputs) -> Table:
    frame = rows.compare_unpublished(inputs, "remedies")
    return Table(frame, (Column("variant"), Column("model"), *rows.score_columns(frame)))


def build_section(inputs: Inputs) -> Section:
    """Return the section of the table."""
    names = inputs.settings.tables["remedies"]
    origin = provenance.find_origin(rows.collect_records(inputs, names))
    title = "Remedies for fusing by attention"
    return rows.build_unpublished_section(
        inputs, "remedies", title, build_table(inputs), NOTE, origin
    )
