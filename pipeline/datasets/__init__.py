"""The datasets, one small module each, all with the contract of `base.Dataset`.

To add one: a module with a DATASET, its line here, and its name in the schema of params.yaml.
"""

from pipeline.datasets import ade20k, camvid, cityscapes, pascal_context
from pipeline.datasets.base import BACKGROUND, IGNORE, SPLITS, UNKNOWN, Dataset, Pair, Sample

DATASETS: dict[str, Dataset] = {
    d.name: d for d in (cityscapes.DATASET, camvid.DATASET, ade20k.DATASET, pascal_context.DATASET)
}

__all__ = [
    "BACKGROUND",
    "DATASETS",
    "IGNORE",
    "SPLITS",
    "UNKNOWN",
    "Dataset",
    "Pair",
    "Sample",
]
