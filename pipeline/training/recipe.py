"""The recipe: learning rate, class weights, optimizer."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ann import Ohem, Sums, loss_sums
from ann.loss import mean
from pipeline.common import params
from pipeline.common.cli import InputError


def poly_lr(base: float, iteration: int, total: int, power: float, warmup: int = 0) -> float:
    """base (1 - iteration / total) ^ power, after a linear warm-up."""
    rise = min(1.0, (iteration + 1) / warmup) if warmup else 1.0
    return base * rise * (1 - iteration / total) ** power


def class_weights(loss: params.Loss, manifest: dict[str, Any]) -> Tensor | None:
    """The weights as listed, or by the training split's histogram."""
    if loss.class_weights is None:
        return None
    if isinstance(loss.class_weights, list):
        if len(loss.class_weights) != len(manifest["classes"]):
            raise InputError(
                f"loss.class_weights has {len(loss.class_weights)} values; allowed is one for "
                f"each of the {len(manifest['classes'])} classes"
            )
        return torch.tensor(loss.class_weights)
    pixels = torch.tensor(list(manifest["splits"]["train"]["pixels"].values()), dtype=torch.float64)
    return ((1 / (pixels / pixels.sum() + 1e-3)) ** loss.class_weights.power).float()


def training_sums(
    loss: params.Loss,
    logits: Tensor,
    aux_logits: Tensor,
    labels: Tensor,
    *,
    class_weights: Tensor | None,
    align_corners: bool,
) -> Sums:
    """The sums of the settings' loss over these samples."""
    return loss_sums(
        logits,
        aux_logits,
        labels,
        class_weights=class_weights,
        ohem=Ohem(**loss.ohem.model_dump()) if loss.ohem else None,
        at_labels=loss.at_labels,
        align_corners=align_corners,
    )


def combined(loss: params.Loss, sums: Sums, kept: Tensor, valid: Tensor) -> Tensor:
    """L_final + aux_weight L_Stage4, of sums over the weights `kept` and `valid`."""
    return mean(sums.final, kept) + loss.aux_weight * mean(sums.aux, valid)


def training_loss(loss: params.Loss, *maps: Tensor, **settings: Any) -> Tensor:
    """The loss where these samples are all of the batch; arguments as of training_sums."""
    sums = training_sums(loss, *maps, **settings)
    return combined(loss, sums, sums.kept, sums.valid)


def make_optimizer(model: nn.Module, settings: params.Optimizer) -> Optimizer:
    if settings.name == "sgd":
        return torch.optim.SGD(
            model.parameters(),
            settings.lr,
            momentum=settings.momentum or 0.0,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(
        model.parameters(), settings.lr, weight_decay=settings.weight_decay, fused=True
    )
