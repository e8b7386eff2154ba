"""The plan: what is counted, what is predicted from it, and what was measured instead."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.engine import networks
from pipeline.measuring.counting import FusedAttention, Needs, count_needs, training_needs
from pipeline.measuring.process import run_in_process
from pipeline.settings import costs, params
from pipeline.settings.paths import ReportPaths
from pipeline.stages import plan
from tests import recorded
from tests.conftest import ROOT

SETTINGS = params.load(ROOT / "params.yaml")
NEED = Needs(parameters=1000, flops=10**9, saved_bytes=10**6)


def test_a_small_network_by_hand() -> None:
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.ReLU())
        image = torch.zeros(1, 3, 8, 8)

    def twice() -> torch.Tensor:
        first, second = network(image), network(image)
        return first + second

    found = count_needs(network, twice)
    assert found.parameters == 12
    assert found.flops == 2 * (2 * 3 * 4 * 64)
    assert found.saved_bytes == 4 * 64 * (3 + 2 * 4)  # one input and two outputs of ReLU
    assert count_needs(network, twice, [image]).saved_bytes == 4 * 64 * 2 * 4


def by_pytorch(variant: str) -> tuple[int, list[Needs]]:
    """The operations of a training pass by PyTorch's counter, and twice by ours."""
    options = SETTINGS.resolve_network(variant)["options"] | {"form": "plain"}
    with torch.device("meta"):
        model = networks.build(SETTINGS.resolve_network(variant) | {"options": options}, 19).train()
        image = torch.zeros(2, 3, *SETTINGS.active.train.augment.crop)
        keys = torch.zeros(2, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter:
            model(image, keys)
    ours = [count_needs(model, lambda: model(image, keys)) for _ in range(2)]
    return counter.get_total_flops(), ours


@pytest.mark.parametrize("variant", ["random1236", "ann", "nb", "criss_cross", "aspp"])
def test_remembered_calls_count_as_pytorch_counts_them(variant: str) -> None:
    expected, (first, again) = run_in_process(by_pytorch, variant, limit=60).require()
    assert first == again
    assert first.flops == expected


def test_what_is_not_on_the_meta_device_is_computed_each_time() -> None:
    network, given = nn.Identity(), torch.arange(3.0)
    seen: list[torch.Tensor] = []
    for scale in (1, 2):
        given.mul_(scale)
        count_needs(network, lambda: seen.append(given + 1))
    assert [tensor.tolist() for tensor in seen] == [[1, 2, 3], [1, 3, 5]]


def whole(variant: str) -> tuple[Needs, list[Needs]]:
    """The needs of a network in one pass, and with its backbone counted apart, or remembered."""
    network, train = SETTINGS.resolve_network(variant), SETTINGS.active.train
    options = network["options"] | {"form": "fused"}
    with torch.device("meta"):
        model = networks.build(network | {"options": options}, 19).train().bfloat16()
        image = torch.zeros(2, 3, *train.augment.crop)
        sample_ids = torch.zeros(2, dtype=torch.int64)
    remembered = {}
    parts = [training_needs(network, 19, train, remembered) for _ in range(2)]
    assert len(remembered) == 1
    with FusedAttention():
        return count_needs(model, lambda: model(image, sample_ids)), parts


@pytest.mark.parametrize("variant", ["baseline", "ann"])
def test_a_backbone_counted_apart_changes_nothing(variant: str) -> None:
    at_once, (first, again) = run_in_process(whole, variant, limit=60).require()
    assert first == again
    assert (first.parameters, first.flops) == (at_once.parameters, at_once.flops // 2)
    loss = first.saved_bytes - at_once.saved_bytes // 2
    cells = 16 * 32  # of the feature map, where this profile's loss is
    assert 0 < loss < 2 * cells * (19 + 4) * 8


def published_memory(backbone: str, crop: tuple[int, int]) -> float:
    """Peak bytes of two images in float32 with mmsegmentation's network."""
    train = SETTINGS.profiles["cityscapes"].train
    augment = train.augment.model_copy(update={"crop": crop})
    changed = {"precision": "float32", "batch_size": 2, "augment": augment}
    train = train.model_copy(update=changed)
    network = networks.describe_layout("mmseg") | {"backbone": backbone, "freeze": False}
    return plan.predict(SETTINGS.plan, train, training_needs(network, 19, train, {}))[1]


@pytest.mark.parametrize(
    ("backbone", "crop", "gigabytes"),  # configs/ann/README.md of mmsegmentation, Mem (GB)
    [("resnet101", (769, 769), 10.7), ("resnet50", (512, 1024), 6.0)],
)
def test_the_predicted_memory_is_near_what_others_measured(
    backbone: str, crop: tuple[int, int], gigabytes: float
) -> None:
    found = run_in_process(published_memory, backbone, crop, limit=60).require()
    assert found / 1e9 == pytest.approx(gigabytes, rel=0.1)


def test_the_closed_form_by_hand() -> None:
    rates = costs.Tflops(bfloat16=1.0, tf32=0.75, float32=0.5)
    assumed = costs.Plan(device="a device", tflops=rates, utilisation=0.5)
    train = SETTINGS.active.train.model_copy(update={"batch_size": 4, "iterations": 100})
    seconds, memory = plan.predict(assumed, train, NEED)  # bfloat16, AdamW
    assert seconds == pytest.approx(3 * 4 * 100 * 1e9 / 0.5e12)
    assert memory == 4 * 10**6 + 1000 * 4 * 4
    with_loss = plan.predict(assumed, train, NEED._replace(loss_bytes=500))[1]
    assert with_loss == memory + 4 * 500
    slow = train.model_copy(update={"precision": "float32"})
    assert plan.predict(assumed, slow, NEED)[0] == pytest.approx(2 * seconds)
    sgd = train.model_copy(update={"optimizer": SETTINGS.profiles["cityscapes"].train.optimizer})
    assert plan.predict(assumed, sgd, NEED)[1] == 4 * 10**6 + 1000 * 4 * 3


def test_a_measured_step_of_this_very_network_is_taken_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = ReportPaths("embedded").networks
    place.parent.mkdir(parents=True)
    train = SETTINGS.active.train
    row = {
        "profile": "embedded",
        "variant": "ann",
        "call": "step",
        "size": list(train.augment.crop),
        "batch": train.batch_size,
        "parameters": 1000,
        "status": "measured",
        "measured": recorded.measurement(0.5, 7 * 10**6).model_dump(),
    }
    counts = {"ann": NEED, "baseline": NEED}
    assumed = "predicted for NVIDIA A100"
    for change, how in (
        ({}, "measured step, a CPU"),
        ({"parameters": 999}, assumed),  # of an earlier network
        ({"batch": 1}, assumed),
        ({"call": "forward"}, assumed),
        ({"status": "over", "measured": None}, assumed),
    ):
        file = recorded.networks(row | change, **{"environment.device": "a CPU"})
        recorded.write(place, file)
        frame = plan.tabulate_trainings(SETTINGS, "embedded", counts).set_index("variant")
        assert frame["how"].to_dict() == {"ann": how, "baseline": assumed}
        if not change:
            assert frame.loc["ann", "hours"] == pytest.approx(0.5 * train.iterations / 3600)
            assert frame.loc["ann", "memory"] == 7 * 10**6 + 4000


def test_the_data_are_the_published_or_the_drawn_ones() -> None:
    cityscapes = plan.describe_data(SETTINGS, "cityscapes")
    assert cityscapes is not None
    assert cityscapes.prepared == (2975 + 500) * 1024 * 2048 * 4
    drawn, scene = plan.describe_data(SETTINGS, "embedded"), SETTINGS.scene
    assert drawn is not None
    assert drawn.prepared == (scene.train + scene.val) * scene.height * scene.width * 4
    real = SETTINGS.model_copy(update={"dataset_dir": "/data"})
    assert plan.describe_data(real, "embedded") == cityscapes


def test_the_page_has_a_line_a_profile_and_says_what_is_assumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = plan.build_page(
        SETTINGS, {name: {"ann": NEED, "nb": NEED} for name in SETTINGS.profiles}
    )
    lines = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("| ")]
    firsts = {name.strip(): runs.strip() for name, runs, _ in lines}
    for name in SETTINGS.profiles:  # two variants with each profile's seeds
        assert firsts[name] == str(2 * len(SETTINGS.view(name).seeds))
    assert "35% of what is assumed of NVIDIA A100" in text
    assert "measured memory" not in text


def test_every_variant_can_be_counted_on_the_smallest_profile() -> None:
    settings = params.load(ROOT / "params.yaml")
    own, backbones = settings.profiles["embedded"], {}
    for variant in settings.variants:
        found = training_needs(
            settings.resolve_network(variant, "embedded"), 19, own.train, backbones
        )
        assert min(found[:3]) > 0, variant


def attention_needs(fused: bool) -> Needs:
    """The needs of attention of 40 queries to 60 keys, as on CUDA or as the meta device has it."""
    with torch.device("meta"):
        q, k, v = (torch.zeros(1, 1, n, 8, requires_grad=True) for n in (40, 60, 60))
    mode = FusedAttention() if fused else nullcontext()
    with mode:
        return count_needs(
            nn.Identity(), lambda: F.scaled_dot_product_attention(q, k, v), [q, k, v]
        )


def test_fused_attention_is_counted_without_its_matrix() -> None:
    plain, fused = (run_in_process(attention_needs, x, limit=60).require() for x in (False, True))
    assert fused.saved_bytes == 4 * 40 * 8  # the output
    assert plain.saved_bytes >= 4 * 40 * 60
    assert fused.flops == plain.flops == 2 * 40 * 60 * (8 + 8)
