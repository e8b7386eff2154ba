"""Blocks beyond the paper's beside its own: the same training, as many parameters, other costs."""

import math
from statistics import fmean, stdev
from typing import Any

import pandas as pd

import contexts
from pipeline.common.params import Params
from pipeline.measuring.process import MEASURED
from pipeline.reporting.results import Results
from pipeline.reporting.tables import UNMEASURED, label

Row = dict[str, Any]

PAPERS = {
    "nb": "Wang et al., CVPR 2018, arXiv 1711.07971",
    "apnb": "Zhu et al., ICCV 2019, arXiv 1908.07678",
}
NOTE = (
    "There are no published figures under this training. All rows have the profile's backbone, "
    "reduction, classifier and recipe; they differ in what stands between reduction and "
    "classifier, and *ann* in its fusion too. *Equal budget* is parameters: the widths of "
    "criss-cross, PPM and ASPP in params.yaml give them those of NB, of the same input and output "
    "channels, within 6 %, as *beyond baseline* shows; a test holds them to it in every profile. "
    "Their operations and time are not equal, and are shown: GFLOPs of an image's forward pass in "
    "the plain form, two a multiply-add, and a measured training step of the profile's batch. "
    "*NB, fused attention* is NB with scaled_dot_product_attention always; its equations and "
    "operations are NB's, so that its mIoU differs by rounding alone. The rates of ASPP are "
    "DeepLabv3's 12, 24 and 36, and on a feature map too small for them as large beside it as "
    "those are beside DeepLabv3's. PPM's fusing convolution is 1x1, as NB's is."
)


def table(settings: Params, results: Results, networks: Row | None) -> pd.DataFrame:
    """A row a variant; `networks` is reports/networks.json, None where nothing is counted."""
    names = settings.tables["beyond"]
    costs = _costs(settings, networks)
    plain = [n for n in names if settings.variants[n].model_dump(exclude_none=True) == _BASELINE]
    base = plain[0] if plain else ""
    return pd.DataFrame([_row(settings, results, costs, base, name) for name in names])


_BASELINE = {"fusion": "none", "context": "none"}


def _costs(settings: Params, networks: Row | None) -> dict[str, dict[str, Row]]:
    """The counted and measured rows of the active profile's training crop, by variant and pass."""
    found: dict[str, dict[str, Row]] = {}
    train = settings.active.train
    wanted = (settings.profile, list(train.augment.crop), train.batch_size)
    for row in networks["networks"] if networks else []:
        if (row["profile"], row["size"], row["batch"]) == wanted:
            found.setdefault(row["variant"], {})[row["pass"]] = row
    return found


def _row(
    settings: Params, results: Results, costs: dict[str, dict[str, Row]], base: str, name: str
) -> Row:
    variant, runs = settings.variants[name], results[name]
    mious = [r.miou for r in runs]
    other = {r.seed: r.miou for r in results[base]} if base else {}
    gains = [r.miou - other[r.seed] for r in runs if r.seed in other]
    cost, step = costs.get(name, {}).get("forward"), costs.get(name, {}).get("step")
    parameters = cost["parameters"] if cost else math.nan
    least = costs[base]["forward"]["parameters"] if base in costs else math.nan
    measured = step is not None and step["status"] == MEASURED
    return {
        "variant": name,
        "model": label(variant),
        "paper": PAPERS.get(variant.context) or _paper(variant.context),
        "n": len(runs),
        "seeds": " ".join(str(r.seed) for r in runs),
        "miou": fmean(mious) if mious else math.nan,
        "sd": stdev(mious) if len(mious) > 1 else math.nan,
        "to_baseline": fmean(gains) if gains else math.nan,
        "parameters": parameters,
        "beyond_baseline": parameters - least,
        "gflops": cost["flops"] / 1e9 if cost else math.nan,
        "step_ms": 1e3 * step["seconds"] if step and measured else math.nan,
    }


def _paper(context: str) -> str:
    return str(contexts.load(context).PAPER) if context in contexts.names() else ""


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The table as a person reads it; what is not known stands as such."""
    rows: list[Row] = frame.to_dict("records")  # type: ignore[assignment]

    def number(value: float, form: str) -> str:
        return UNMEASURED if math.isnan(value) else f"{value:{form}}"

    def miou(row: Row) -> str:
        return number(row["miou"], ".1f") + (f" ± {row['sd']:.1f}" if row["n"] > 1 else "")

    return pd.DataFrame(
        {
            "variant": [r["variant"] for r in rows],
            "model": [r["model"] for r in rows],
            "mIoU": [miou(r) for r in rows],
            "to baseline": [number(r["to_baseline"], "+.1f") for r in rows],
            "seeds": [f"{r['n']} ({r['seeds']})" if r["n"] else "0" for r in rows],
            "parameters (M)": [number(r["parameters"] / 1e6, ".3f") for r in rows],
            "beyond baseline (K)": [number(r["beyond_baseline"] / 1e3, ".1f") for r in rows],
            "GFLOPs": [number(r["gflops"], ".4g") for r in rows],
            "step (ms)": [number(r["step_ms"], ".1f") for r in rows],
            "paper": [r["paper"] for r in rows],
        }
    )
