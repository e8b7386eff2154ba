"""The loss of the paper: L = L_final + 0.4 L_Stage4, per pixel cross entropy (section 4.1).

The released recipe mines hard pixels (OHEM) in L_final and weights the classes. The loss takes the
means itself, because the built-in 2-D mean of F.cross_entropy is not deterministic on CUDA.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE_INDEX = 255


@dataclass(frozen=True)
class Ohem:
    """Online hard example mining: which pixels count.

    Attributes:
        threshold: A pixel counts where the probability of its true class is at most this.
        min_kept: At least this many pixels count, the hardest ones.
    """

    threshold: float = 0.7
    min_kept: int = 100_000


class Sums(NamedTuple):
    """The weighted sums of the pixels' losses, and the sums of the pixels' weights.

    Attributes:
        final: The loss of L_final.
        kept_weight: The weight of the pixels that OHEM keeps for L_final.
        aux: The loss of L_Stage4.
        valid: The weight of all pixels that are not IGNORE_INDEX.
    """

    final: Tensor
    kept_weight: Tensor
    aux: Tensor
    valid: Tensor


def pixel_weights(labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return the weight of each pixel.

    Args:
        labels: (B, H, W) of class ids, of any integer type.
        class_weights: (classes,); None stands for 1 each.

    Returns:
        (B, H, W), with zero for IGNORE_INDEX.
    """
    keep = labels != IGNORE_INDEX
    if class_weights is None:
        return keep.float()
    return keep * class_weights[labels.long().clamp(max=len(class_weights) - 1)]


def mean(total: Tensor, weight: Tensor) -> Tensor:
    """Return total / weight, or zero where nothing counts."""
    return total / weight.clamp(min=torch.finfo(weight.dtype).tiny)


def cross_entropy(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None = None, ohem: Ohem | None = None
) -> Tensor:
    """Return the weighted mean over the pixels that are not IGNORE_INDEX, or zero without any.

    Args:
        logits: (B, classes, H, W).
        labels: (B, H, W) of class ids.
        class_weights: (classes,).
        ohem: Only hard pixels count.
    """
    return mean(*_sums(logits, labels, class_weights, ohem))


def _sums(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None, ohem: Ohem | None
) -> tuple[Tensor, Tensor]:
    """Return the sum of the pixels' weighted losses, and the sum of their weights."""
    loss = F.cross_entropy(
        logits, labels, class_weights, ignore_index=IGNORE_INDEX, reduction="none"
    )
    weights = pixel_weights(labels, class_weights)
    if ohem is None:
        return loss.sum(), weights.sum()
    hard = _hard(logits.detach(), labels, labels != IGNORE_INDEX, ohem)
    return (loss * hard).sum(), (weights * hard).sum()


def _hard(logits: Tensor, labels: Tensor, valid: Tensor, ohem: Ohem) -> Tensor:
    """Return whether each pixel counts, (B, H, W).

    The number of valid pixels stays on the device, so that the host does not wait for it.
    """
    target = labels.where(valid, 0)
    confidence = logits.softmax(dim=1).gather(1, target[:, None])[:, 0]  # (B, H, W)
    candidates = confidence.where(valid, torch.inf).flatten().sort().values  # valid ones first
    rank = (valid.sum().clamp(max=ohem.min_kept) - 1).clamp(min=0)
    threshold = candidates.gather(0, rank[None]).clamp(min=ohem.threshold)
    return confidence <= threshold


def loss_sums(
    logits: Tensor,
    aux_logits: Tensor | None,
    labels: Tensor,
    *,
    class_weights: Tensor | None = None,
    ohem: Ohem | None = None,
    at_labels: bool = True,
    align_corners: bool = False,
) -> Sums:
    """Return the weighted loss sums and their weights.

    With them a mean can be taken over several parts of a batch.

    Args:
        logits: (B, classes, h, w).
        aux_logits: The same of Stage4. None in evaluation; the auxiliary sum is then zero.
        labels: (B, H, W) of class ids, of any integer type.
        class_weights: (classes,).
        ohem: Only hard pixels count in L_final.
        at_labels: Upsample the logits to the labels, as the paper does.
            Otherwise sample the labels at the centres of the logits' cells, which costs less.
        align_corners: How the logits are upsampled.

    Returns:
        The sums over these samples.
    """
    labels = labels.long()
    if not at_labels:
        labels = at_centres(labels, logits.shape[2:])

    def at_size(x: Tensor) -> Tensor:
        x = x.float()
        if not at_labels:
            return x
        size = labels.shape[1:]
        return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)

    final = _sums(at_size(logits), labels, class_weights, ohem)
    if aux_logits is None:
        weights = pixel_weights(labels, class_weights).sum()
        return Sums(*final, torch.zeros_like(weights), weights)
    return Sums(*final, *_sums(at_size(aux_logits), labels, class_weights, None))


def segmentation_loss(
    logits: Tensor,
    aux_logits: Tensor | None,
    labels: Tensor,
    *,
    aux_weight: float = 0.4,
    **settings: Any,
) -> tuple[Tensor, Tensor]:
    """Return L_final + aux_weight * L_Stage4, and L_final alone.

    Args:
        logits: (B, classes, h, w).
        aux_logits: The same of Stage4, or None in evaluation.
        labels: (B, H, W) of class ids, of any integer type.
        aux_weight: 0.4 in the paper.
        settings: The keyword arguments of loss_sums.
    """
    sums = loss_sums(logits, aux_logits, labels, **settings)
    final = mean(sums.final, sums.kept_weight)
    return final + aux_weight * mean(sums.aux, sums.valid), final


def at_centres(labels: Tensor, size: torch.Size) -> Tensor:
    """Return the labels (B, H, W) at the centres of a grid of `size` cells, (B, h, w)."""
    rows, columns = (
        (torch.arange(n, device=labels.device) * 2 + 1) * full // (2 * n)
        for n, full in zip(size, labels.shape[1:], strict=True)
    )
    return labels[:, rows[:, None], columns]
