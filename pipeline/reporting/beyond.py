"""Blocks beyond the paper's beside its own: the same training, as many parameters, other costs."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

import contexts
from pipeline.common.params import Params
from pipeline.measuring.process import MEASURED
from pipeline.reporting import tables
from pipeline.reporting.results import Failure, Results

Row = dict[str, Any]

PAPERS = {
    "none": "",
    "nb": "Wang et al., CVPR 2018, arXiv 1711.07971",
    "apnb": "Zhu et al., ICCV 2019, arXiv 1908.07678",
}
NOTE = (
    "There are no published figures under this training, so there are no verdicts. All rows have "
    "the profile's backbone, reduction, classifier and recipe; they differ in what stands between "
    "reduction and classifier, and *ann* in its fusion too. *Equal budget* is parameters: the "
    "widths of criss-cross, PPM and ASPP in params.yaml give them those of NB, of the same input "
    "and output channels, within 6 %, as *block* shows (the parameters that the baseline does not "
    "have); a test holds them to it in every profile. Their operations and time are not equal, and "
    "are shown: GFLOPs of an image's forward pass in the plain form, two a multiply-add, and a "
    "measured training step of the profile's batch. *NB, fused attention* is NB with "
    "scaled_dot_product_attention always; its equations and operations are NB's, so that its mIoU "
    "differs by what rounding makes of a training. The rates of ASPP are DeepLabv3's 12, 24 and "
    "36, and on a feature map too small for them as large beside it as those are beside "
    "DeepLabv3's. PPM's fusing convolution is 1x1, as NB's is."
)


def table(
    settings: Params, results: Results, failed: Sequence[Failure], networks: Row | None
) -> pd.DataFrame:
    """A row a variant; `networks` is reports/networks.json, None where nothing is counted."""
    names = settings.tables["beyond"]
    frame = tables.measured(settings, "beyond", results, failed, [None] * len(names), {})
    theirs = ["published", "published_difference", "published_status", "verdict"]
    frame = frame.drop(columns=theirs)
    variants = [settings.variants[name] for name in names]
    frame.insert(1, "model", [tables.label(v) for v in variants])
    plain = [n for n, v in zip(names, variants, strict=True) if tables.label(v) == "baseline"]
    costs = _costs(settings, networks)
    rows = [_cost(costs, plain[0] if plain else "", name) for name in names]
    return frame.join(pd.DataFrame(rows)).assign(paper=[_paper(v.context) for v in variants])


def _costs(settings: Params, networks: Row | None) -> dict[str, dict[str, Row]]:
    """The counted and measured rows of the active profile's training crop, by variant and pass."""
    found: dict[str, dict[str, Row]] = {}
    train = settings.active.train
    wanted = (settings.profile, list(train.augment.crop), train.batch_size)
    for row in networks["networks"] if networks else []:
        if (row["profile"], row["size"], row["batch"]) == wanted:
            found.setdefault(row["variant"], {})[row["pass"]] = row
    return found


def _cost(costs: dict[str, dict[str, Row]], base: str, name: str) -> dict[str, float]:
    unknown = {"parameters": math.nan, "flops": math.nan}
    own, least = (costs.get(n, {}).get("forward", unknown) for n in (name, base))
    step = costs.get(name, {}).get("step", {"status": ""})
    return {
        "parameters": own["parameters"],
        "block_parameters": own["parameters"] - least["parameters"],
        "gflops": own["flops"] / 1e9,
        "step_ms": 1e3 * step["seconds"] if step["status"] == MEASURED else math.nan,
    }


def _paper(context: str) -> str:
    return PAPERS[context] if context in PAPERS else str(contexts.load(context).PAPER)


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The table as a person reads it; what is not known stands as such."""

    def column(name: str, form: str, unit: float = 1.0) -> list[str]:
        return [
            tables.UNMEASURED if math.isnan(value) else f"{value / unit:{form}}"
            for value in frame[name]
        ]

    readable = tables.shown(frame)
    readable["parameters (M)"] = column("parameters", ".3f", 1e6)
    readable["block (K)"] = column("block_parameters", ".1f", 1e3)
    readable["GFLOPs"] = column("gflops", ".4g")
    readable["step (ms)"] = column("step_ms", ".1f")
    readable["paper"] = frame["paper"]
    return readable
