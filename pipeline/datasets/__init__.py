"""The datasets, one small module each, all with the contract of `base.Dataset`.

To add one (ADE20K, PASCAL Context): a module with a DATASET, and its line here.
"""

from pipeline.datasets import camvid, cityscapes
from pipeline.datasets.base import BACKGROUND, IGNORE, SPLITS, UNKNOWN, Dataset, Pair

DATASETS: dict[str, Dataset] = {d.name: d for d in (cityscapes.DATASET, camvid.DATASET)}

__all__ = ["BACKGROUND", "DATASETS", "IGNORE", "SPLITS", "UNKNOWN", "Dataset", "Pair"]
