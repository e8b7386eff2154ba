"""Which of the measured scores may stand beside a published figure."""

from typing import Any

from pipeline.reporting.results import Results
from pipeline.settings.records import CheckpointLine, RunLine
from pipeline.settings.schema import Params, Variant

Published = dict[str, Any]  # reports/published.yaml, which each table reads in its own way
PAPER_POOLING = ("pyramid_average", [1, 3, 6, 8])
# Pairs of fusion and context.
BASELINE, ANN = ("none", "none"), ("afnb", "apnb")
NB, APNB, AFNB = ("none", "nb"), ("none", "apnb"), ("afnb", "none")
_TOLD = {"fusion", "context", "sampling", "pool_sizes"}  # what the paper's tables say of a row


def real(settings: Params, dataset: str) -> bool:
    """Whether the active profile is of this dataset, and not of scenes drawn in its layout."""
    return settings.active.dataset == dataset and not settings.embedded


def released_miou(published: Published) -> float:
    """In percent, of the authors' released model: the mean of its classes' IoUs."""
    values = published["cityscapes_val_class_iou"]["rows"].values()
    return 100 * sum(values) / len(values)


def paper_pooling(variant: Variant) -> bool:
    """Whether it samples as the paper's full network does, or not at all."""
    return (variant.sampling, variant.pool_sizes) in (PAPER_POOLING, (None, None))


def plain(variant: Variant, *more: str) -> bool:
    """Whether nothing is its own but what the paper's tables tell of their rows, and these keys."""
    return variant.model_dump(exclude_none=True).keys() <= _TOLD | set(more)


def as_published(settings: Params, *parts: tuple[str, str]) -> list[str]:
    """The variants with one of these pairs of fusion and context, for each pair in params.yaml's
    order: with the paper's pooling, and with nothing else of their own but a backbone."""
    found = []
    for pair in parts:
        for name, variant in settings.variants.items():
            if (
                (variant.fusion, variant.context) == pair
                and paper_pooling(variant)
                and plain(variant, "backbone", "widths")
            ):
                found.append(name)
    return found


def runs(settings: Params, results: Results, dataset: str, variant: str) -> list[RunLine]:
    """The runs of a variant with the active profile on this dataset, drawn or real."""
    return [
        r
        for r in results.get(variant, [])
        if (r.record.profile, r.record.dataset.name) == (settings.profile, dataset)
    ]


def checkpoints(
    settings: Params, imported: dict[str, CheckpointLine], dataset: str
) -> dict[str, CheckpointLine]:
    """The imported checkpoints that are measured with the active profile on this dataset."""
    return {
        name: found
        for name, found in imported.items()
        if name in settings.checkpoints
        and settings.active.dataset == dataset
        and found.record.profile == settings.profile
    }
