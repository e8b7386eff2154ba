"""Blocks beyond the paper's beside its own: the same training and parameters, other costs."""

import math

import pandas as pd

import contexts
from pipeline.reporting import provenance
from pipeline.reporting.columns import Column, Number, Table
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.sections import Section
from pipeline.reporting.tables import rows
from pipeline.reporting.tables.rows import UNMEASURED
from pipeline.settings.records import NetworkCost, NetworkCosts
from pipeline.settings.schema import Params

SOURCES = {
    "none": "",
    "nb": "Wang et al., CVPR 2018, arXiv 1711.07971",
    "apnb": "Zhu et al., ICCV 2019, arXiv 1908.07678",
}
NOTE = (
    "There are no published figures for this training. All rows have "
    "the profile's backbone, reduction, classifier and recipe. They differ in what stands between "
    "reduction and classifier; *ann* differs in its fusion too.\n\n"
    "**Budget.** *block* counts the parameters that the baseline does not have. The widths of "
    "criss-cross, PPM and ASPP in params.yaml give them as many as NB within 6 %, with the same "
    "input and output channels. A test checks this in every profile. Operations and time are not "
    "equal. *GFLOPs* are of one image's forward pass in the plain form; a multiply-add counts two. "
    "*step* is a measured training step with the profile's batch.\n\n"
    "**Rows.** *NB, fused attention* always uses PyTorch's scaled_dot_product_attention. Its "
    "equations and operations are NB's, so its mIoU differs only by what rounding does to a "
    "training. The rates of ASPP are DeepLabv3's 12, 24 and 36. On a feature map too small for "
    "these, they shrink in proportion to the map. PPM's fusing convolution is 1x1, as NB's is."
)
COSTS = (
    Number("parameters", "parameters (M)", ".3f", UNMEASURED, unit=1e6),
    Number("block_parameters", "block (K)", ".1f", UNMEASURED, unit=1e3),
    Number("gflops", "GFLOPs", ".4g", UNMEASURED),
    Number("step_ms", "step (ms)", ".1f", UNMEASURED),
    Column("paper"),
)


def build_frame(inputs: Inputs) -> pd.DataFrame:
    """Return a row for each variant: scores as in the paper's tables, then costs."""
    settings = inputs.settings
    names = settings.tables["beyond"]
    frame = rows.compare_unpublished(inputs, "beyond")
    variants, models = [settings.variants[name] for name in names], list(frame["model"])
    baseline = names[models.index("baseline")] if "baseline" in models else ""
    measurements = _index_measurements(settings, inputs.networks)
    costs = pd.DataFrame([_list_costs(measurements, baseline, name) for name in names])
    return frame.join(costs).assign(paper=[_find_source(v.context) for v in variants])


def build_table(inputs: Inputs) -> Table:
    frame = build_frame(inputs)
    return Table(frame, (Column("variant"), Column("model"), *rows.score_columns(frame), *COSTS))


def build_section(inputs: Inputs) -> Section:
    """Return the section of the table."""
    names, networks = inputs.settings.tables["beyond"], inputs.networks
    records = rows.collect_records(inputs, names)
    origin = provenance.find_origin([*records, *([networks] if networks else [])])
    return rows.build_unpublished_section(
        inputs, "beyond", "Beyond the paper", build_table(inputs), NOTE, origin
    )


Costs = dict[str, dict[str, NetworkCost]]  # by variant and call


def _index_measurements(settings: Params, networks: NetworkCosts | None) -> Costs:
    """Return what was measured at the active profile's crop and batch, by variant and pass."""
    index: Costs = {}
    train = settings.active.train
    wanted = (settings.profile, train.augment.crop, train.batch_size)
    for row in networks.networks if networks else []:
        if (row.profile, row.size, row.batch) == wanted:
            index.setdefault(row.variant, {})[row.call] = row
    return index


def _list_costs(costs: Costs, baseline: str, name: str) -> dict[str, float]:
    own, least = (costs.get(n, {}).get("forward") for n in (name, baseline))
    step = costs.get(name, {}).get("step")
    return {
        "parameters": own.parameters if own else math.nan,
        "block_parameters": own.parameters - least.parameters if own and least else math.nan,
        "gflops": own.flops / 1e9 if own else math.nan,
        "step_ms": 1e3 * step.measured.seconds if step and step.measured else math.nan,
    }


def _find_source(context: str) -> str:
    return SOURCES[context] if context in SOURCES else str(contexts.load(context).PAPER)
