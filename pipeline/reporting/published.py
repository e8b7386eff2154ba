"""The paper's figures in reports/published.yaml: which variant each is of, and its mark."""

from collections.abc import Callable

from pipeline.reporting.columns import DAGGER
from pipeline.reporting.measured import ANN, Published, has_only_paper_keys, has_paper_pooling
from pipeline.settings.fields import TableName
from pipeline.settings.schema import Params, Variant

DAGGER_NOTE = f"{DAGGER} copied from the paper's text and not yet checked against it."
_PARTS = {"common": "common_fusion"}  # a part's name in published.yaml, where it differs


def mark_status(status: str) -> str:
    """Return the mark of a published figure that was not yet checked against its source."""
    return DAGGER if status == "transcribed" else ""


def find_ablation_figure(variant: Variant, published: Published) -> float | None:
    """Return the paper's mIoU of the variant, None without a row of its pooling and options."""
    if not (has_only_paper_keys(variant) and has_paper_pooling(variant)):
        return None
    parts = [p for p in (variant.fusion, variant.context) if p != "none"]
    key = "+".join(_PARTS.get(p, p) for p in parts) or "baseline"
    value: float | None = published["cityscapes_val_ablation"]["rows"].get(key)
    return value


def find_sampling_figure(variant: Variant, published: Published) -> float | None:
    """Return the paper's mIoU of the full network with the variant's sampling and pool sizes."""
    if not has_only_paper_keys(variant) or (variant.fusion, variant.context) != ANN:
        return None
    for row in published["cityscapes_val_sampling"]["rows"]:
        if (row["method"].replace(" ", "_"), row["n"]) == (variant.sampling, variant.pool_sizes):
            return float(row["miou"])
    return None


# The paper's tables of variants, each with the lookup of a row's figure.
FIGURE_FINDERS: dict[TableName, Callable[[Variant, Published], float | None]] = {
    "ablation": find_ablation_figure,
    "sampling": find_sampling_figure,
}


def find_figure(settings: Params, row: str, published: Published) -> tuple[float | None, str]:
    """Return the paper's mIoU of a row, and the status of the table that has it."""
    for table, find in FIGURE_FINDERS.items():
        figure = find(settings.variants[row], published)
        if figure is not None:
            return figure, str(published[f"cityscapes_val_{table}"]["status"])
    return None, ""
