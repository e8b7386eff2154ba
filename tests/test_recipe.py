"""The recipe in closed form: optimizer, learning rate, class weights and loss."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ann import Ohem, loss_sums, segmentation_loss
from ann.loss import IGNORE_INDEX, pixel_weights
from pipeline.settings import records, schema
from pipeline.training.recipe import class_weights, make_optimizer, poly_lr, training_loss
from tests.recorded import manifest, split

LR, DECAY = 0.1, 0.02


def optimizer(**settings: Any) -> schema.Optimizer:
    return schema.Optimizer.model_validate({"lr": LR, "weight_decay": DECAY} | settings)


def walk(settings: schema.Optimizer, gradients: list[float]) -> list[float]:
    """Return the weight, which starts at 1, after a step by each gradient."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    stepper, weights = make_optimizer(model, settings), []
    for gradient in gradients:
        model.weight.grad = torch.full((1, 1), gradient)
        stepper.step()
        weights.append(model.weight.item())
    return weights


@pytest.mark.parametrize("momentum", [0.9, 0.5, 0.0])
def test_sgd_is_the_heavy_ball_with_decay_in_the_gradient(momentum: float) -> None:
    gradients, weight, velocity, expected = [1.0, -2.0, 0.5, 0.25], 1.0, 0.0, []
    for gradient in gradients:  # not Nesterov's, which would add the gradient once more
        velocity = momentum * velocity + gradient + DECAY * weight
        weight -= LR * velocity
        expected.append(weight)
    found = walk(optimizer(name="sgd", momentum=momentum), gradients)
    assert found == pytest.approx(expected, rel=1e-5)


def test_adamw_decays_the_weight_beside_the_gradient() -> None:
    gradients, weight, first, second, expected = [1.0, -2.0, 0.5], 1.0, 0.0, 0.0, []
    for step, gradient in enumerate(gradients, 1):
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        mean, square = first / (1 - 0.9**step), second / (1 - 0.999**step)
        weight = weight * (1 - LR * DECAY) - LR * mean / (square**0.5 + 1e-8)
        expected.append(weight)
    assert walk(optimizer(name="adamw"), gradients) == pytest.approx(expected, rel=1e-5)


def test_every_parameter_is_trained_by_one_rule() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    for name, momentum in (("sgd", 0.9), ("adamw", None)):
        (group,) = make_optimizer(model, optimizer(name=name, momentum=momentum)).param_groups
        assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]
        assert (group["lr"], group["weight_decay"]) == (LR, DECAY)


def test_the_learning_rate_by_hand() -> None:
    for power in (0.5, 0.9, 2.0):
        rates = [poly_lr(3.0, i, 8, power, warmup=4) for i in range(9)]
        rise = [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1]  # the fourth iteration is the first at full rate
        expected = [3 * r * (1 - i / 8) ** power for i, r in enumerate(rise)]
        assert rates == pytest.approx(expected)
    assert poly_lr(3.0, 0, 8, 0.9, warmup=1) == poly_lr(3.0, 0, 8, 0.9) == 3.0


def loss_settings(**changes: Any) -> schema.Loss:
    shipped = {"aux_weight": 0.4, "class_weights": None, "ohem": None, "at_labels": True}
    return schema.Loss.model_validate(shipped | changes)


def test_class_weights_are_in_the_order_of_the_classes_and_of_the_training_split() -> None:
    pixels = {"c": 700, "a": 200, "b": 100}
    val = split(pixels={"c": 1, "a": 1, "b": 98})
    splits = records.Splits(train=split(pixels=pixels), val=val)
    data = manifest(list(pixels), splits=splits)
    listed = class_weights(loss_settings(class_weights=[3.0, 1.0, 2.0]), data)
    assert listed is not None
    assert listed.tolist() == [3.0, 1.0, 2.0]
    for power in (0.5, 1.0):
        found = class_weights(loss_settings(class_weights={"power": power}), data)
        expected = [(1 / (share + 1e-3)) ** power for share in (0.7, 0.2, 0.1)]
        torch.testing.assert_close(found, torch.tensor(expected))  # their sum is not made one
    assert class_weights(loss_settings(), data) is None


WEIGHTS = torch.tensor([1.0, 2.0, 0.5, 3.0])


def maps() -> tuple[Tensor, Tensor, Tensor]:
    """Logits, auxiliary logits and labels, of which some are ignored."""
    torch.manual_seed(0)
    labels = torch.randint(0, 4, (2, 8, 9))
    labels[0, :2] = IGNORE_INDEX
    return 3 * torch.randn(2, 4, 8, 9), torch.randn(2, 4, 8, 9), labels


def weighted_mean(logits: Tensor, labels: Tensor, kept: Tensor, weights: Tensor) -> Tensor:
    """Return the mean over the pixels in `kept`, each as heavy as its class."""
    each = -logits.log_softmax(1).gather(1, labels.where(kept, 0)[:, None])[:, 0]
    heavy = weights[labels.where(kept, 0)] * kept
    return (each * heavy).sum() / heavy.sum()


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("min_kept", [5, 40])
def test_ohem_mines_the_final_loss_and_not_the_auxiliary_one(
    weights: Tensor | None, min_kept: int
) -> None:
    logits, aux, labels = maps()
    valid = labels != IGNORE_INDEX
    truth = logits.softmax(1).gather(1, labels.where(valid, 0)[:, None])[:, 0]
    limit = max(0.3, float(truth[valid].sort().values[min_kept - 1]))
    hard = valid & (truth <= limit)
    assert 0 < hard.sum() < valid.sum()
    heavy = torch.ones(4) if weights is None else weights
    final = weighted_mean(logits, labels, hard, heavy)
    auxiliary = weighted_mean(aux, labels, valid, heavy)
    found = segmentation_loss(
        logits, aux, labels, aux_weight=0.7, ohem=Ohem(0.3, min_kept), class_weights=weights
    )
    torch.testing.assert_close(found, (final + 0.7 * auxiliary, final))
    settings = loss_settings(aux_weight=0.7, ohem={"threshold": 0.3, "min_kept": min_kept})
    trained = training_loss(
        settings, logits, aux, labels, class_weights=weights, align_corners=False
    )
    torch.testing.assert_close(trained, final + 0.7 * auxiliary)


def test_sums_and_their_weights_by_hand() -> None:
    logits, aux, labels = maps()
    sums = loss_sums(logits, aux, labels, class_weights=WEIGHTS)
    valid = labels != IGNORE_INDEX
    counts = torch.bincount(labels[valid], minlength=4)
    total = (counts * WEIGHTS).sum()
    for weight in (sums.kept_weight, sums.valid, pixel_weights(labels, WEIGHTS).sum()):
        torch.testing.assert_close(weight, total)
    torch.testing.assert_close(sums.aux, total * weighted_mean(aux, labels, valid, WEIGHTS))
    assert pixel_weights(labels).sum() == valid.sum()


def test_what_is_ignored_has_no_loss_and_no_gradient() -> None:
    logits, aux, labels = (x.clone() for x in maps())
    logits.requires_grad_()
    aux.requires_grad_()
    settings = loss_settings(ohem={"threshold": 0.7, "min_kept": 10**6})
    loss = training_loss(settings, logits, aux, labels, class_weights=None, align_corners=False)
    loss.backward()
    for gradient in (logits.grad, aux.grad):
        assert gradient is not None
        here = gradient.abs().sum(dim=1) > 0
        assert torch.equal(here, labels != IGNORE_INDEX)


def test_the_corners_reach_the_auxiliary_logits_too() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(1, 4, 3, 3), torch.randint(0, 4, (1, 9, 11))
    for corners in (False, True):
        big = F.interpolate(logits, (9, 11), mode="bilinear", align_corners=corners)
        expected = F.cross_entropy(big, labels) * 1.4
        found = training_loss(
            loss_settings(), logits, logits, labels, class_weights=None, align_corners=corners
        )
        torch.testing.assert_close(found, expected)


def test_labels_at_the_centres_of_the_logits() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(1, 4, 3, 3), torch.randint(0, 4, (1, 9, 15))
    found = training_loss(
        loss_settings(at_labels=False),
        logits,
        logits,
        labels,
        class_weights=None,
        align_corners=False,
    )
    torch.testing.assert_close(found, 1.4 * F.cross_entropy(logits, labels[:, 1::3, 2::5]))
