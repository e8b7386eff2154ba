"""Decide which of the measured scores may stand beside a published figure."""

from typing import Any

from pipeline.reporting.results import Results
from pipeline.settings.records import CheckpointLine, RunLine
from pipeline.settings.schema import Params, Variant

Published = dict[str, Any]  # reports/published.yaml, which each table reads in its own way
PAPER_POOLING = ("pyramid_average", [1, 3, 6, 8])
# Pairs of fusion and context.
BASELINE, ANN = ("none", "none"), ("afnb", "apnb")
NB, APNB, AFNB = ("none", "nb"), ("none", "apnb"), ("afnb", "none")
_PAPER_KEYS = {"fusion", "context", "sampling", "pool_sizes"}


def is_real_data(settings: Params, dataset: str) -> bool:
    """Tell whether the active profile has this dataset, and not scenes drawn in its layout."""
    return settings.active.dataset == dataset and not settings.embedded


def compute_released_miou(published: Published) -> float:
    """Return the mIoU in percent of the authors' released model, from its classes' IoUs."""
    values = published["cityscapes_val_class_iou"]["rows"].values()
    return 100 * sum(values) / len(values)


def has_paper_pooling(variant: Variant) -> bool:
    """Tell whether a variant samples as the paper's full network does, or not at all."""
    return (variant.sampling, variant.pool_sizes) in (PAPER_POOLING, (None, None))


def has_only_paper_keys(variant: Variant, *more: str) -> bool:
    """Tell whether a variant sets only the keys that the paper's tables give, and `more`."""
    return variant.model_dump(exclude_none=True).keys() <= _PAPER_KEYS | set(more)


def list_published_variants(settings: Params, *parts: tuple[str, str]) -> list[str]:
    """Return the variants with these pairs of fusion and context, pair by pair.

    They have the paper's pooling and change at most the backbone.
    """
    names = []
    for pair in parts:
        for name, variant in settings.variants.items():
            if (
                (variant.fusion, variant.context) == pair
                and has_paper_pooling(variant)
                and has_only_paper_keys(variant, "backbone", "widths")
            ):
                names.append(name)
    return names


def select_runs(settings: Params, results: Results, dataset: str, variant: str) -> list[RunLine]:
    """Return the runs of a variant with the active profile on this dataset, drawn or real."""
    return [
        r
        for r in results.get(variant, [])
        if (r.record.profile, r.record.dataset.name) == (settings.profile, dataset)
    ]


def select_checkpoints(
    settings: Params, imported: dict[str, CheckpointLine], dataset: str
) -> dict[str, CheckpointLine]:
    """Return the imported checkpoints that are measured with the active profile on this dataset."""
    return {
        name: found
        for name, found in imported.items()
        if name in settings.checkpoints
        and settings.active.dataset == dataset
        and found.record.profile == settings.profile
    }
