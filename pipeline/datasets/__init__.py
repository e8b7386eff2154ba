"""The datasets, one small module each, all with the contract of `base.Dataset`.

To add one: a module with a DATASET, its name here, and in the schema of params.yaml; see
docs/adding-a-dataset.md.
"""

from pipeline.datasets import ade20k, camvid, cityscapes, pascal_context
from pipeline.datasets.base import BACKGROUND, IGNORE, SPLITS, UNKNOWN, Dataset, Pair, Sample

_MODULES = (cityscapes, camvid, ade20k, pascal_context)
DATASETS: dict[str, Dataset] = {module.DATASET.name: module.DATASET for module in _MODULES}

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
