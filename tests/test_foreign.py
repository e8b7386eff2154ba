"""Files of other trainers: what is taken, what is told, and that nothing in them is executed."""

import argparse
import collections
import datetime
import enum
import os
import pathlib
import urllib.error
from collections.abc import Callable, Mapping
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ann import LAYOUTS, SegmentationNetwork, export_state, import_state, layout_settings
from ann.backbone import Backbone
from ann.foreign import find_state
from ann.network import pixel_statistics
from pipeline.commands import export
from pipeline.engine import checkpoint, foreign, networks, yaml_file
from pipeline.engine.errors import InputError
from pipeline.engine.weights import load_backbone
from pipeline.scoring.imported import read_checkpoint
from pipeline.settings import params, schema
from pipeline.stages import check
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")
Tensors = dict[str, Tensor]


def small_state() -> Tensors:
    """A network of one convolution, a batch norm and a classifier."""
    net = nn.Sequential()
    for name, module in {"conv": nn.Conv2d(3, 4, 1), "bn": nn.BatchNorm2d(4)}.items():
        net.add_module(name, module)
    return {name: torch.randn(t.shape).to(t.dtype) for name, t in net.state_dict().items()}


GOOD = small_state()


def prefixed(prefix: str, tensors: Tensors = GOOD) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Kind(enum.Enum):
    ONE = 1


class Settings(dict[str, Any]):
    """A trainer's own mapping, with attributes too."""


class History:
    """A trainer's own object, as mmengine's history buffer."""

    def __init__(self) -> None:
        self.values, self.items = np.arange(3.0), 5


class Slots:
    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = 1


def trainer_settings() -> Settings:
    settings = Settings(lr=0.1)
    settings.__dict__["name"] = "x"
    return settings


BESIDE: dict[str, Any] = {
    "numpy scalar": np.float64(0.5),
    "numpy array": np.ones((2, 3)),
    "numpy strings": np.array(["a", "b"]),
    "numpy objects": np.array([{}, None], dtype=object),
    "datetime": datetime.datetime(2026, 1, 2, 3),
    "time zone": datetime.timezone(datetime.timedelta(hours=1)),
    "deque": collections.deque([1.0, 2.0], maxlen=3),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "path": pathlib.PurePosixPath("a/b"),
    "namespace": argparse.Namespace(lr=0.1, items=3, values=[1], keys=None),
    "enum": Kind.ONE,
    "own mapping": trainer_settings(),
    "own object": History(),
    "slots": Slots(),
    "function": Path.mkdir,
    "counter": collections.Counter("aab"),
    "generator": torch.Generator().get_state(),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("what", BESIDE)
def test_what_is_no_tensor_is_left_out(what: str, legacy: bool, tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    held = {"args": BESIDE[what], "state_dict": GOOD, "more": {"again": BESIDE[what], "epoch": 3}}
    torch.save(held, file, _use_new_zipfile_serialization=not legacy)
    content = foreign.read_tensors(file).content
    found = find_state(content, GOOD, others_allowed=False)
    assert (found.source, found.others, found.faults) == ("state_dict", [], [])
    assert same(found.tensors, GOOD)


class Code:
    """What a hostile file would run when it is read."""

    def __init__(self, function: Callable[..., Any], *words: Any) -> None:
        self.call = function, words

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("legacy", [False, True])
def test_no_function_in_a_file_is_called(legacy: bool, tmp_path: Path) -> None:
    mark, file = tmp_path / "executed", tmp_path / "a.pth"
    text = f"__import__('os').mkdir({os.fspath(mark)!r})"
    for code, refused in (
        (Code(os.mkdir, os.fspath(mark)), "posix.mkdir"),  # by PyTorch's reader, whatever is there
        (Code(eval, text), None),
        (Code(exec, text), None),
        (Code(np.load, os.fspath(mark)), None),
        (Code(Path.mkdir, mark), "builtins.getattr"),  # its result would be called
        (Code(getattr, Code(__import__, "os"), "mkdir"), None),
    ):
        torch.save({"state_dict": GOOD, "x": code}, file, _use_new_zipfile_serialization=not legacy)
        if refused is None:
            assert foreign.read_tensors(file).ignored_types
        else:
            with pytest.raises(InputError, match=f"holds {refused}.* which are not read") as caught:
                foreign.read_tensors(file)
            assert "torch.save(content['state_dict'], NEW)" in str(caught.value)
        assert not mark.exists()


def test_the_types_that_were_left_out_are_named(tmp_path: Path) -> None:
    torch.save({"state_dict": GOOD, "args": argparse.Namespace(x=1)}, tmp_path / "a.pth")
    held = foreign.read_tensors(tmp_path / "a.pth")
    assert held.ignored_types == ["argparse.Namespace"]
    found = find_state(held.content, GOOD, others_allowed=False)
    (note,) = foreign.describe_reading(tmp_path / "a.pth", held, found)
    assert "ignored argparse.Namespace beside the tensors" in note


@pytest.mark.parametrize("legacy", [False, True])
def test_damage_and_contents_are_told_apart(legacy: bool, tmp_path: Path) -> None:
    def refused(file: Path) -> str:
        with pytest.raises(InputError) as caught:
            foreign.read_tensors(file)
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    file, half = tmp_path / "a.pth", tmp_path / "half.pth"
    more = {"state_dict": GOOD, "args": argparse.Namespace(x=1), "ones": torch.ones(1000)}
    torch.save(more, file, _use_new_zipfile_serialization=not legacy)
    for end in (0, 1, 100, 700, len(file.read_bytes()) - 3000, -1):
        half.write_bytes(file.read_bytes()[:end])
        assert "truncated or damaged" in refused(half)
    for whole, type_name in (
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ({"model": {"a": np.ones(3)}}, "numpy"),
        (BESIDE["own object"], "History"),
    ):
        torch.save(whole, file, _use_new_zipfile_serialization=not legacy)
        text = refused(file)
        assert type_name in text
        assert "truncated" not in text
        assert "weights_only=False" in text
    torch.save(GOOD, file, pickle_protocol=4, _use_new_zipfile_serialization=not legacy)
    assert "truncated" not in refused(file)


@pytest.mark.parametrize(
    "prefix",
    [
        *("", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module."),
        *("model.", "backbone.", "encoder.", "net.", "module.model.backbone.", "a.b.c.d."),
    ],
)
def test_prefixes_are_taken_off(prefix: str) -> None:
    beside = {"head.weight": torch.ones(2), "n_averaged": torch.tensor(3)}
    for held in (prefixed(prefix) | beside, {"x": {"y": prefixed(prefix) | beside}, "epoch": 3}):
        found = find_state(held, GOOD, others_allowed=True)
        assert found.faults == []
        assert same(found.tensors, GOOD)


def test_wrappers_within_a_name_are_taken_off() -> None:
    held = {name.replace(".", "._orig_mod.module.", 1): t for name, t in GOOD.items()}
    assert same(find_state(held, GOOD, others_allowed=False).tensors, GOOD)


@pytest.mark.parametrize("key", ["model", "model_state", "model_state_dict", "net", "network", "x"])
def test_the_mapping_that_fits_is_found(key: str) -> None:
    optimizer = {"state": {0: {"exp_avg": torch.ones(4)}}, "param_groups": [{"lr": 0.1}]}
    other = {"conv.weight": torch.ones(2, 2)}
    held = {"optimizer": optimizer, "a": other, key: prefixed("module."), "z": other, "epoch": 3}
    found = find_state(held, GOOD, others_allowed=False)
    assert (found.source, found.others, found.faults) == (key, [], [])


def test_of_several_that_fit_the_plain_weights_are_taken_and_it_is_told(tmp_path: Path) -> None:
    other = {name: tensor + 1 for name, tensor in GOOD.items()}
    for held, source, others in (
        ({"ema_state_dict": other, "state_dict": GOOD}, "state_dict", ["ema_state_dict"]),
        ({"model_ema": {"module": other}, "model": GOOD}, "model", ["model_ema.module"]),
        ({"state_dict": GOOD, "model": other}, "state_dict", ["model"]),
        (prefixed("teacher.", other) | prefixed("student."), "student", ["teacher"]),
        (GOOD | {"x": other}, "", ["x"]),
    ):
        found = find_state(held, GOOD, others_allowed=True)
        assert (found.source, found.others) == (source, others)
        assert same(found.tensors, GOOD)
        (note,) = foreign.describe_reading(tmp_path, foreign.ForeignFile({}, []), found)
        assert f"{others[0]} would fit as well" in note
    found = find_state({"ema": other}, GOOD, others_allowed=True)
    assert (found.source, found.others) == ("ema", [])


def test_what_differs_is_named_with_both_shapes() -> None:
    def told(tensors: Tensors) -> list[str]:
        return find_state(tensors, GOOD, others_allowed=True).faults

    assert told(GOOD | {"conv.weight": torch.ones(5, 3, 1, 1)}) == [
        "conv.weight must be 4x3x1x1, got 5x3x1x1"
    ]
    assert told(GOOD | {"conv.weight": torch.ones(4, 3, 1, 1, dtype=torch.int8)}) == [
        "conv.weight must be 4x3x1x1, got 4x3x1x1 of int8"
    ]
    assert told(GOOD | {"conv.extra": torch.ones(1)}) == ["conv.extra is no tensor of the network"]
    assert told(GOOD | {"head.num_batches_tracked": torch.tensor(1)}) == []
    assert told({n: t for n, t in GOOD.items() if n != "bn.weight"}) == ["bn.weight is missing"]
    assert len(told({"a": torch.ones(1)})) == len(GOOD)


def resnet18_state() -> Tensors:
    from torchvision.models import resnet18

    return resnet18().state_dict()


def test_a_backbone_takes_what_other_trainers_save(tmp_path: Path) -> None:
    full, file = resnet18_state(), tmp_path / "a.pth"
    bare = {n: t for n, t in full.items() if "num_batches" not in n}
    own = SegmentationNetwork(2, backbone="resnet18").backbone
    ours = {f"backbone.{n}": t for n, t in own.state_dict().items()}
    for held in (
        bare,
        {"model": prefixed("module.", bare) | {"module.fc.0.weight": torch.ones(3)}},
        {"state_dict": prefixed("encoder.", full), "args": argparse.Namespace()},
        {n: nn.Parameter(t.half()) if t.is_floating_point() else t for n, t in full.items()},
        {n: t.bfloat16() if t.is_floating_point() else t for n, t in full.items()},
        ours,
    ):
        torch.save(held, file)
        backbone = Backbone("resnet18")
        load_backbone(backbone, "resnet18", str(file))
        theirs = own.stem[0].weight if held is ours else full["conv1.weight"]
        got = backbone.stem[0].weight
        assert isinstance(got, Tensor)
        assert got.dtype == torch.float32
        assert isinstance(theirs, Tensor)
        torch.testing.assert_close(got, theirs, rtol=1e-2, atol=1e-3)
    checkpoint.save(tmp_path / "a.safetensors", prefixed("backbone.", bare))
    load_backbone(backbone, "resnet18", str(tmp_path / "a.safetensors"))
    assert torch.equal(backbone.state_dict()["stem.0.weight"], full["conv1.weight"])


def test_weights_of_a_deeper_network_are_no_shallower_ones(tmp_path: Path) -> None:
    with torch.device("meta"):
        deep, shallow = Backbone("resnet101"), Backbone("resnet50")
    found = find_state(deep.state_dict(), shallow.state_dict(), others_allowed=True)
    assert found.faults[0] == "layer3.6.conv1.weight is no tensor of the network"
    torch.save(resnet18_state(), tmp_path / "a.pth")
    with pytest.raises(
        InputError, match=r"fit resnet50: layer1\.0\.conv1\.weight must be 64x64x1x1, got 64x64x3x3"
    ):
        load_backbone(shallow, "resnet50", str(tmp_path / "a.pth"))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (urllib.error.URLError(OSError(-2, "Name or service not known")), "not known"),
        (TimeoutError("timed out"), "timed out"),
        (ConnectionResetError(104, "Connection reset by peer"), "reset by peer"),
        (urllib.error.HTTPError("u", 503, "Unavailable", None, None), "Unavailable"),  # type: ignore[arg-type]
        (IncompleteRead(b""), "IncompleteRead"),
    ],
)
def test_no_network_is_told_in_one_sentence(
    error: Exception, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setenv("TORCH_HOME", os.fspath(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", fails)
    with pytest.raises(InputError) as caught:
        load_backbone(nn.Module(), "resnet18", "imagenet")
    text = str(caught.value)
    assert reason in text
    assert "resnet18-f37072fd.pth could not be downloaded" in text
    assert "network.weights" in text
    assert "\n" not in text
    assert not [*tmp_path.rglob("*.p*")]


def test_a_damaged_download_is_told_and_a_good_one_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", os.fspath(tmp_path))
    file = tmp_path / "hub/checkpoints/resnet18-f37072fd.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"half of it")
    with pytest.raises(InputError, match=r"f37072fd\.pth is damaged: .* remove it"):
        load_backbone(nn.Module(), "resnet18", "imagenet")
    torch.save(resnet18_state(), file)
    monkeypatch.setattr("pipeline.engine.weight_files.digest_file", lambda _: "f37072fd00")
    load_backbone(Backbone("resnet18"), "resnet18", "imagenet")


def test_weights_that_do_not_fit_are_refused_before_any_work(
    tmp_path: Path,
) -> None:
    raw = yaml_file.read_yaml(ROOT / "params.yaml")
    network = raw["profiles"][raw["profile"]]["network"]
    torch.save(resnet18_state(), tmp_path / "a.pth")
    network |= {"weights": os.fspath(tmp_path / "a.pth"), "backbone": "resnet18", "widths": None}
    check.check_weights(params.check(raw))
    network["backbone"] = "resnet34"
    with pytest.raises(InputError, match=r"fit resnet34: layer1\.2\.conv1\.weight is missing"):
        check.check_weights(params.check(raw))
    network["weights"] = None
    raw["checkpoints"] = {"a": {"file": os.fspath(tmp_path / "a.pth"), "layout": "mmseg"}}
    with pytest.raises(InputError, match=r"a\.pth: the tensors are not in the mmseg layout: "):
        check.check_weights(params.check(raw))


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_takes_what_other_trainers_save(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        network = SegmentationNetwork(3, **layout_settings(layout))
    own = {n: torch.full(t.shape, 0.5).to(t.dtype) for n, t in network.state_dict().items()}
    own |= pixel_statistics(layout_settings(layout)["pixels"])
    full = export_state(layout, own)
    old = {n: t for n, t in full.items() if "num_batches" not in n}
    beside = {"data_preprocessor.mean": torch.ones(3, 1, 1), "criterion.weight": torch.ones(3)}
    zero = {n: torch.zeros_like(t) if "num_batches" in n else t for n, t in own.items()}
    for held in (
        {"model": prefixed("module._orig_mod.", old), "optimizer": {}},
        prefixed("model.", old | beside),
        {n: t.half() for n, t in old.items()},
    ):
        assert same(import_state(layout, held), zero)

    headless = {n: t for n, t in full.items() if not n.startswith(("auxiliary_head.", "dsn."))}
    state = import_state(layout, headless)
    assert same(
        {n: state[n] for n in own if n[:4] != "aux_"},
        {n: t for n, t in own.items() if n[:4] != "aux_"},
    )
    assert not any(bool(t.any()) for n, t in state.items() if n[:4] == "aux_")
    torch.save(headless, tmp_path / "in.pth")
    given = schema.Checkpoint(file=os.fspath(tmp_path / "in.pth"), layout=layout)  # type: ignore[arg-type]
    state, about = read_checkpoint(given)
    assert about == {"auxiliary": False}
    settings = networks.describe_layout(layout)
    checkpoint.save(tmp_path / "a.safetensors", state, network=settings, **about)
    export.main(layout, tmp_path / "a.safetensors", tmp_path / "out")
    again = foreign.read_tensors(tmp_path / "out").content["state_dict"]
    assert same(again, headless)
    for large in tmp_path.iterdir():
        large.unlink()


def test_files_without_tensors_are_refused_by_name(tmp_path: Path) -> None:
    for name, text in (("text.pth", "<html>"), ("empty.pth", ""), ("text.safetensors", "{}")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "number.pth")
    for name, sentence in (
        ("text.pth", "truncated or damaged, or not written by torch.save"),
        ("empty.pth", "truncated or damaged, or not written by torch.save"),
        ("text.safetensors", "not a readable safetensors file"),
        ("list.pth", "holds no tensors by name"),
        ("number.pth", "holds no tensors by name"),
        ("none.pth", "cannot be read"),
    ):
        with pytest.raises(InputError) as caught:
            foreign.read_tensors(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: {sentence}")
        assert "\n" not in str(caught.value)
