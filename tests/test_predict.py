"""Prediction of a user's own images: what is written, and what is refused in a sentence."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ann import network_attention
from pipeline.commands import predict
from pipeline.data.formats import DATASETS
from pipeline.data.formats.files import read_upright
from pipeline.engine import checkpoint, networks, yaml_file
from pipeline.engine.errors import InputError
from pipeline.reporting.pictures.attention import AMBER, draw_anchors
from pipeline.reporting.pictures.colours import make_palette
from pipeline.scoring.predict import predict as class_ids
from pipeline.scoring.predict import stack_images
from pipeline.settings import params
from tests.conftest import ROOT, command_line, small
from tests.trees import image

CLASSES, WEIGHTS = DATASETS["cityscapes"].classes, Path("weights/embedded/ann-0.safetensors")


def save_network(variant: str, file: Path, classes: tuple[str, ...] = CLASSES) -> None:
    """Random weights, with batch norm's statistics of noise: it predicts several classes."""
    network = params.load().resolve_network(variant)
    torch.manual_seed(1)
    built = networks.build(network, len(classes)).train()
    with torch.no_grad():
        for i in range(10):
            noise = torch.randint(0, 256, (2, 3, 64, 128), generator=torch.manual_seed(i))
            built(noise.to(torch.uint8))
    checkpoint.save(file, built.state_dict(), network=network, classes=list(classes))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Path:
    monkeypatch.chdir(tmp_path)
    settings = small(yaml_file.read_yaml(ROOT / "params.yaml"))
    settings["profiles"]["embedded"]["evaluate"] = {
        "precision": "float32",
        "batch_size": 2,
        "threads": 1,
        "protocols": ["whole", "sliding"],
        "window": [64, 64],
        "stride": [32, 48],
    }
    yaml_file.write_yaml(Path("params.yaml"), settings)
    save_network("ann", WEIGHTS)
    image(Path("own/a.png"), (70, 130), seed=1)
    image(Path("own/deep/b.jpg"), (97, 65), seed=2)
    return tmp_path


def test_labels_overlays_and_attention_of_a_folder(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command_line("predict", WEIGHTS, "own", "--out", "out", "--attention", "--protocol", "sliding")
    assert "predict: 2/2" in capsys.readouterr().out
    network, _ = networks.load_network(WEIGHTS)
    evaluate = params.load().active.evaluate
    table = make_palette(19, DATASETS["cityscapes"].colours)
    seen = set()
    for name, file in (("a", "own/a.png"), ("deep/b", "own/deep/b.jpg")):
        pixels = np.asarray(Image.open(file))
        label = Image.open(f"out/labels/{name}.png")
        assert (label.mode, label.size) == ("L", pixels.shape[1::-1])
        ids = np.asarray(label)
        assert np.array_equal(
            ids, class_ids(network.eval(), stack_images([pixels]), "sliding", evaluate)[0]
        )
        seen |= set(np.unique(ids))
        drawn = np.asarray(Image.open(f"out/overlays/{name}.png"))
        assert np.abs(drawn - (0.4 * pixels + 0.6 * table[ids])).max() < 1
        for block in ("fusion", "context"):
            picture = Image.open(f"out/attention/{name}-{block}.png")
            assert picture.size == (5 * pixels.shape[1] + 4 * 4, len(pixels))  # 4 grids, 1 map
    assert len(seen) > 3
    assert json.loads(Path("out/classes.json").read_text(encoding="utf-8"))["18"] == "bicycle"
    files = [f for f in Path("out").rglob("*") if f.is_file()]
    before = [f.read_bytes() for f in files]
    command_line("predict", WEIGHTS, "own", "--out", "out", "--attention", "--protocol", "sliding")
    assert [f.read_bytes() for f in files] == before


def test_a_photograph_is_predicted_upright(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Image.Exif()
    held[0x0112] = 6  # the camera was turned by a quarter
    with Image.open("own/deep/b.jpg") as photo:
        photo.rotate(90, expand=True).save("turned.png", exif=held)
        photo.save("straight.png")
    command_line("predict", WEIGHTS, "turned.png", "straight.png", "--out", "out")
    turned, straight = (Path(f"out/labels/{n}.png").read_bytes() for n in ("turned", "straight"))
    assert turned == straight


def test_the_heaviest_anchor_is_the_brightest_bin(workplace: Path) -> None:
    network, _ = networks.load_network(WEIGHTS)
    pixels = np.zeros((64, 128, 3), np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, pixels.shape).astype(np.uint8)
    found = network_attention(network.eval(), stack_images([noise]), (0.2, 0.3))["context"]
    drawn = draw_anchors(pixels, found, [1, 3, 6, 8], (0.2, 0.3))
    best = int(found.weights[0, 0].argmax())
    level = int(np.searchsorted(np.cumsum([1, 9, 36, 64]), best, side="right"))
    top, bottom, left, right = (8 * found.boxes[best]).tolist()
    middle = drawn[level][(top + bottom) // 2, (left + right) // 2]
    assert np.abs(middle - 0.9 * np.array(AMBER)).max() <= 1


def test_all_that_a_folder_holds_is_predicted_or_named(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = Image.open("own/a.png")
    forms = ["jfif", "gif", "avif", "ppm", "jp2", "JPE"]
    for form in forms:
        pixels.save(f"own/{form}.{form}")
    image(Path("elsewhere/c.png"))
    image(Path("own/like.png/d.png"))
    Path("own/linked").symlink_to(Path("elsewhere").resolve())
    Path("own/like.png/circle").symlink_to(Path("own").resolve())
    Path("elsewhere/back").symlink_to(Path("own").resolve())
    Path("own/notes.txt").write_text("no image", encoding="utf-8")
    Path("own/photo.heic").write_text("no image that is read", encoding="utf-8")
    pixels.save("own/film.webp", save_all=True, append_images=[Image.new("RGB", (130, 70))])
    command_line("predict", WEIGHTS, "own", "--out", "out")
    names = sorted(
        f.relative_to("out/labels").as_posix()
        for f in Path("out/labels").rglob("*.png")
        if f.is_file()
    )
    expected = ["a", "deep/b", "film", "like.png/d", "linked/c", *forms]
    assert names == sorted(f"{name}.png" for name in expected)
    told = capsys.readouterr()
    assert f"out: {len(expected)} images predicted" in told.out
    assert "4 files left out:" in told.err
    for line in (
        "own/like.png/circle: a link to a folder that is read already",
        "own/linked/back: a link to a folder that is read already",
        "own/notes.txt: its suffix is not that of an image",
        "own/photo.heic: its suffix is not that of an image",
        "own/film.webp: 2 frames",
    ):
        assert line in told.err


def test_bad_images_are_named_at_the_end_and_spare_the_others(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = Path("own/a.png").read_bytes()
    Path("own/Cut.png").write_bytes(content[:9000])  # its header is whole
    Path("own/Text.jpg").write_text("no image", encoding="utf-8")
    Path("own/Lost.png").symlink_to("nowhere")
    Image.new("I;16", (130, 70)).save("own/Deep.png")
    os.mkfifo("own/Pipe.png")
    Image.open("own/a.png").save("own/noted.webp", exif=b"Exif\0\0MM\0*")
    Path(os.fsdecode(b"own/\xff.png")).write_bytes(content)
    with pytest.raises(InputError) as caught:
        command_line("predict", WEIGHTS, "own", "--out", "out")
    told = str(caught.value)
    assert told.startswith("5 of 9 images could not be predicted:")
    for sentence in (
        "own/Cut.png: cannot be read",
        "own/Text.jpg must be an image",
        "own/Lost.png is a link to nowhere, which is missing",
        "own/Deep.png must have 8 bits a channel, got mode I;16",
        "own/Pipe.png must be a regular file",
    ):
        assert sentence in told
    assert "out: 4 images predicted" in capsys.readouterr().out
    written = {os.fsencode(f.name) for f in Path("out/labels").rglob("*.png")}
    assert written == {b"a.png", b"b.png", b"noted.png", b"\xff.png"}


def test_an_image_that_the_network_or_the_memory_does_not_take_spares_the_others(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = predict.load_network

    def load(file: Path, dataset: str, classes: list[str], sizes: list[predict.Size], s: object):  # type: ignore[no-untyped-def]
        if (40, 200) in sizes:
            raise InputError("the image must be larger")
        return original(file, dataset, classes, sizes, s)  # type: ignore[arg-type]

    def read(file: Path) -> object:
        if file.name == "huge.png":
            raise MemoryError
        return read_upright(file)

    monkeypatch.setattr(predict, "load_network", load)
    monkeypatch.setattr(predict, "read_upright", read)
    image(Path("own/tiny.png"), (40, 200))
    image(Path("own/huge.png"))
    with pytest.raises(InputError) as caught:
        command_line("predict", WEIGHTS, "own", "--out", "out")
    assert "own/tiny.png: the image must be larger" in str(caught.value)
    assert "own/huge.png: too large for the memory" in str(caught.value)
    assert len(list(Path("out/labels").rglob("*.png"))) == 2


def test_what_cannot_be_predicted_is_refused_in_a_sentence(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_network("baseline", Path("weights/embedded/baseline-0.safetensors"))
    save_network("ann", Path("other.safetensors"), ("road", "sky"))
    tensors, about = checkpoint.load(WEIGHTS)
    checkpoint.save(Path("alien.safetensors"), tensors)
    checkpoint.save(Path("torn.safetensors"), tensors, **about | {"classes": ["road"]})
    image(Path("tiny.png"), (40, 200))
    image(Path("own2/a.jpg"))
    image(Path("own2/a.png"))
    Path("empty").mkdir()
    image(Path("own3/x.jpg"))
    image(Path("own3/x.png/b.png"))
    Path("text.png").write_text("not pixels", encoding="utf-8")
    damaged = Path("damaged.png")
    damaged.write_bytes(Path("own/a.png").read_bytes()[:9000])
    start = f"{WEIGHTS} own/a.png --out out"
    for words, sentence in (
        (f"{WEIGHTS} nowhere.png --out out", "nowhere.png is missing"),
        (f"{WEIGHTS} text.png --out out", "text.png must be an image"),
        (f"{WEIGHTS} damaged.png --out out", "damaged.png: cannot be read"),
        (f"{WEIGHTS} empty --out out", "empty must hold at least one image, as .apng, "),
        (f"{WEIGHTS} own2 --out out", "own2/a.jpg and own2/a.png would both be written as a.png"),
        (f"{WEIGHTS} own3 --out out", "own3/x.jpg would be written as x.png, which must be a fold"),
        (f"{WEIGHTS} own own/a.png --out out", "own/a.png and own/a.png would both"),
        (f"{WEIGHTS} own --out own/out", "--out own/out lies in the input own"),
        (f"{WEIGHTS} own --out text.png", "--out text.png: cannot be written"),
        ("other.safetensors own --out out", "must be trained for the 19 classes of citysc"),
        ("alien.safetensors own --out out", "alien.safetensors: not a network that this project"),
        ("torn.safetensors own --out out", "torn.safetensors: its tensors are not those of its"),
        ("own/a.png own --out out", "own/a.png: not a readable safetensors file"),
        (
            f"{start} --protocol multi_scale",
            "--protocol must be one of .*, whole, sliding, got",
        ),
        (f"{start} --profile camvid", "must be trained for the 11 classes of camvid"),
        (f"{start} --profile none", "--profile must be one of embedded, "),
        (f"{start} --attention --point 1 0", "--point must be two numbers from 0"),
        ("weights/embedded/baseline-0.safetensors own --out out --attention", "no non-local block"),
    ):
        with pytest.raises(InputError) as caught:
            command_line("predict", *words.split())
        assert re.search(sentence, str(caught.value)), caught.value
        assert "\n" not in str(caught.value)
    assert not list(workplace.glob("out/labels/**/*.png"))
