"""Asymmetric Non-local Neural Networks for Semantic Segmentation (arXiv 1908.07678), in PyTorch.

The package has the paper's blocks, the networks of its ablation, its loss and its score. It takes
Python values and tensors and returns tensors. It reads no files and no settings, and importing it
imports only PyTorch.

Shapes are written with these letters in every docstring:

    B       samples in the batch
    C, C_l  channels of a block's map X, and of the low-level map X_l
    H, W    height and width of a map
    h, w    the same of a second map: X_l, or the logits
    N       positions of X: H * W
    S       positions of key and value: anchors, or all positions without sampling
    K       channels of query and key (the paper's C^)
    V       channels of the value (the paper's C^)
    Q       queries that are asked for
"""

from ann.attention import Attention, attention, attention_blocks, network_attention
from ann.backbone import BACKBONES, STEMS, Backbone, make_backbone
from ann.blocks import NonLocalBlock
from ann.layouts import LAYOUTS, export_state, import_state, layout_settings
from ann.loss import IGNORE_INDEX, Ohem, Sums, loss_sums, segmentation_loss
from ann.metrics import Scores, confusion_matrix, scores
from ann.network import ASYMMETRIC, CONTEXTS, FUSIONS, PIXELS, SegmentationNetwork
from ann.options import FORMS, NORMALIZATIONS, OUTPUTS, BlockOptions
from ann.plain import attend
from ann.sampling import SAMPLINGS, Sampler, anchors
from ann.timm_backbone import TimmBackbone

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
    "TimmBackbone",
    "anchors",
    "attend",
    "attention",
    "attention_blocks",
    "confusion_matrix",
    "export_state",
    "import_state",
    "layout_settings",
    "loss_sums",
    "make_backbone",
    "network_attention",
    "scores",
    "segmentation_loss",
]
