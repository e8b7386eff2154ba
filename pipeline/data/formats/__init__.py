"""The datasets, one small module each, all with the contract of `base.Dataset`.

To add one, write a module with a DATASET and name it here and in the schema of params.yaml. See
docs/adding-a-dataset.md.
"""

from pipeline.data.formats import ade20k, camvid, cityscapes, pascal_context
from pipeline.data.formats.base import BACKGROUND, IGNORE, SPLITS, UNKNOWN, Dataset, Pair, Sample

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
