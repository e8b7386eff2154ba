"""Compute the parts of the recipe: learning rate, class weights, loss, optimizer."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ann import Ohem, Sums, loss_sums
from ann.loss import mean
from pipeline.engine.errors import InputError
from pipeline.settings import schema
from pipeline.settings.records import Manifest


def poly_lr(base: float, iteration: int, total: int, power: float, warmup: int = 0) -> float:
    """Return base (1 - iteration / total) ^ power, after a linear warm-up."""
    rise = min(1.0, (iteration + 1) / warmup) if warmup else 1.0
    return base * rise * (1 - iteration / total) ** power


def class_weights(loss: schema.Loss, manifest: Manifest) -> Tensor | None:
    """Return the weights (classes,) as listed, or by the training split's histogram.

    None: all classes weigh the same.
    """
    if loss.class_weights is None:
        return None
    if isinstance(loss.class_weights, list):
        if len(loss.class_weights) != len(manifest.classes):
            raise InputError(
                f"loss.class_weights must have {len(manifest.classes)} values, one for each class, "
                f"got {len(loss.class_weights)}"
            )
        return torch.tensor(loss.class_weights)
    pixels = torch.tensor(list(manifest.splits.train.pixels.values()), dtype=torch.float64)
    return ((1 / (pixels / pixels.sum() + 1e-3)) ** loss.class_weights.power).float()


def training_sums(
    loss: schema.Loss,
    logits: Tensor,
    aux_logits: Tensor,
    labels: Tensor,
    *,
    class_weights: Tensor | None,
    align_corners: bool,
) -> Sums:
    """Return the sums of the loss over these samples, by the options in `loss`."""
    return loss_sums(
        logits,
        aux_logits,
        labels,
        class_weights=class_weights,
        ohem=Ohem(**loss.ohem.model_dump()) if loss.ohem else None,
        at_labels=loss.at_labels,
        align_corners=align_corners,
    )


def combine_sums(loss: schema.Loss, sums: Sums, final_weight: Tensor, aux_weight: Tensor) -> Tensor:
    """Return L_final + aux_weight L_Stage4, the means of the sums over the two total weights."""
    return mean(sums.final, final_weight) + loss.aux_weight * mean(sums.aux, aux_weight)


def training_loss(loss: schema.Loss, *maps: Tensor, **options: Any) -> Tensor:
    """Return the loss if these samples are the whole batch; arguments as for `training_sums`."""
    sums = training_sums(loss, *maps, **options)
    return combine_sums(loss, sums, sums.kept_weight, sums.valid)


def make_optimizer(model: nn.Module, options: schema.Optimizer) -> Optimizer:
    """Return SGD or AdamW over all parameters that are not frozen.

    Each group has a `factor` of the learning rate: `backbone_lr` for the backbone, otherwise 1.
    """
    backbone: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            own = options.backbone_lr is not None and name.startswith("backbone.")
            (backbone if own else others).append(parameter)
    groups: list[dict[str, Any]] = [{"params": others, "factor": 1.0}]
    if backbone:
        groups.append({"params": backbone, "factor": options.backbone_lr})
    if options.name == "sgd":
        return torch.optim.SGD(
            groups,
            options.lr,
            momentum=options.momentum or 0.0,
            weight_decay=options.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(groups, options.lr, weight_decay=options.weight_decay, fused=True)
