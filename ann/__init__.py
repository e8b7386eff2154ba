"""Asymmetric Non-local Neural Networks for Semantic Segmentation (arXiv 1908.07678), in PyTorch.

The blocks, the networks of the paper's ablation, its loss and its score. Plain values in, plain
tensors out: nothing here knows of files, settings or trackers.
"""

from ann.attention import Attention, attention, attention_blocks, network_attention
from ann.backbone import BACKBONES, STEMS, Backbone
from ann.blocks import FORMS, NORMALIZATIONS, OUTPUTS, BlockOptions, NonLocalBlock
from ann.layouts import LAYOUTS, export_state, import_state, layout_settings
from ann.loss import IGNORE_INDEX, Ohem, Sums, loss_sums, segmentation_loss
from ann.metrics import Scores, confusion_matrix, scores
from ann.network import ASYMMETRIC, CONTEXTS, FUSIONS, PIXELS, SegmentationNetwork
from ann.plain import attend
from ann.sampling import SAMPLINGS, Sampler, anchors

__all__ = [
    "ASYMMETRIC",
    "BACKBONES",
    "CONTEXTS",
    "FORMS",
    "FUSIONS",
    "IGNORE_INDEX",
    "LAYOUTS",
    "NORMALIZATIONS",
    "OUTPUTS",
    "PIXELS",
    "SAMPLINGS",
    "STEMS",
    "Attention",
    "Backbone",
    "BlockOptions",
    "NonLocalBlock",
    "Ohem",
    "Sampler",
    "Scores",
    "SegmentationNetwork",
    "Sums",
    "anchors",
    "attend",
    "attention",
    "attention_blocks",
    "confusion_matrix",
    "export_state",
    "import_state",
    "layout_settings",
    "loss_sums",
    "network_attention",
    "scores",
    "segmentation_loss",
]
