"""What leaves the reading module: (H, W, 3) uint8 as Pillow has it, or an error with the name."""

import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.formats import DATASETS, files
from pipeline.data.formats.files import ImageFile, read_labels, read_upright
from pipeline.data.prepared.store import Store
from pipeline.engine.errors import InputError
from pipeline.stages.prepare import prepare
from tests.trees import SIZE, camvid, png

TRANSPARENT = (b"tRNS", b"\0\1\0\2\0\3")
PALETTE = (b"PLTE", bytes(range(48)))
GREY, RGB, INDEXED, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def write_png(
    file: Path, depth: int, colour: int, channels: int, *more: tuple[bytes, bytes]
) -> Path:
    """A PNG of noise, of any bit depth and colour type; more: chunks before its pixels."""
    height, width = SIZE
    noise = np.random.default_rng(0).integers(0, 256, (height, width * channels * depth // 8))
    rows = b"".join(b"\0" + row.tobytes() for row in noise.astype(np.uint8))
    start = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = (b"IHDR", start), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    file.write_bytes(png(*chunks))
    return file


PNGS: dict[str, tuple[int, int, int] | tuple[int, int, int, tuple[bytes, bytes]]] = {
    "RGB of 16 bits": (16, RGB, 3),
    "RGB of 16 bits with a transparent colour": (16, RGB, 3, TRANSPARENT),
    "RGB with a transparent colour": (8, RGB, 3, TRANSPARENT),
    "RGBA": (8, RGBA, 4),
    "RGBA of 16 bits": (16, RGBA, 4),
    "grey and alpha": (8, GREY_ALPHA, 2),
    "grey and alpha of 16 bits": (16, GREY_ALPHA, 2),
    "grey": (8, GREY, 1),
    "grey of 4 bits": (4, GREY, 1),
    "grey of 1 bit": (1, GREY, 1),
    "palette of 4 bits": (4, INDEXED, 1, PALETTE),
}


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("kind", PNGS)
def test_every_png_is_stored_as_pillow_has_it(kind: str, decode: bool, tmp_path: Path) -> None:
    root = camvid(tmp_path / "source")
    write_png(root / "train/0001TP_000000.png", *PNGS[kind])
    prepare(DATASETS["camvid"], root, tmp_path / "out", decode)
    store = Store(tmp_path / "out", "train")
    for i, name in enumerate(store.names):  # those after it too
        expected = np.asarray(Image.open(root / f"train/{name}.png").convert("RGB"))
        stored = np.asarray(store[i].image)
        assert stored.dtype == np.uint8
        assert np.array_equal(stored, expected)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "P", "1", "LA"])
def test_other_colours_become_rgb(mode: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    for form in ("tif", "jpg") if mode == "CMYK" else ("tif",):
        file, rgb = tmp_path / f"image.{form}", Image.fromarray(noise)
        picture = Image.merge("LAB", rgb.split()) if mode == "LAB" else rgb.convert(mode)
        picture.save(file)
        pixels = np.asarray(ImageFile(file))
        assert pixels.dtype == np.uint8
        assert np.array_equal(pixels, np.asarray(Image.open(file).convert("RGB")))
        assert np.array_equal(ImageFile(file)[2:9, 3:7], pixels[2:9, 3:7])


@pytest.mark.parametrize(
    ("name", "mode"),
    [("grey16.png", "I;16"), ("float.tif", "F"), ("long.tif", "I"), ("deep.pgm", "I")],
)
def test_more_than_8_bits_of_grey_are_refused_by_name(name: str, mode: str, tmp_path: Path) -> None:
    file = tmp_path / name
    Image.new(mode, (9, 9)).save(file)
    for read in (ImageFile, read_upright):
        with pytest.raises(
            InputError, match=f"{re.escape(name)} must have 8 bits a channel, got mode {mode}"
        ):
            read(file)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_labels_that_a_decoder_would_multiply_are_refused(depth: int, tmp_path: Path) -> None:
    file = write_png(tmp_path / "label.png", depth, GREY, 1)
    with pytest.raises(
        InputError, match=rf"label\.png must hold 8-bit grey .* got a {depth}-bit image"
    ):
        read_labels(file)


def test_pixels_that_are_not_as_the_header_says_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_png(tmp_path / "image.png", 8, RGB, 3)
    image = ImageFile(file)
    for wrong in (np.zeros((*SIZE, 3), np.uint16), np.zeros((*SIZE, 4), np.uint8)):
        monkeypatch.setattr(files.pyspng, "load", lambda *_, wrong=wrong, **__: wrong)
        with pytest.raises(InputError, match=r"image\.png: decoded to uint.*; its header promises"):
            np.asarray(image)
    jpeg = tmp_path / "image.jpg"
    Image.new("RGB", (20, 10)).save(jpeg)
    image = ImageFile(jpeg)
    Image.new("RGB", (10, 20)).save(jpeg)
    with pytest.raises(InputError, match=r"image\.jpg: decoded to uint8 \(10, 10, 3\)"):
        np.asarray(image)


def test_a_program_is_never_started_to_read_an_image(tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    Image.new("RGB", (9, 9)).save(file, "EPS")  # which Pillow hands to Ghostscript
    with pytest.raises(InputError, match=r"image\.png must be an image"):
        ImageFile(file)


@pytest.mark.parametrize("form", ["png", "webp", "tif", "jpg"])
def test_a_photograph_is_turned_once(form: str, tmp_path: Path) -> None:
    file, held = tmp_path / f"image.{form}", Image.Exif()
    held[0x0112] = 6
    photograph = np.zeros((16, 32, 3), np.uint8)
    photograph[:, :16] = 255
    Image.fromarray(photograph).save(file, exif=held)
    upright = read_upright(file)
    assert upright.shape == (32, 16, 3)
    assert upright[:14].min() > 200
    assert upright[18:].max() < 50


@pytest.mark.parametrize("form", ["png", "webp", "jpg"])
@pytest.mark.parametrize("note", [b"MM\0*", b"garbage", b"II*\0\xff\xff\xff\x7f", b""])
def test_notes_that_cannot_be_read_turn_nothing(form: str, note: bytes, tmp_path: Path) -> None:
    file = tmp_path / f"image.{form}"
    Image.new("RGB", (32, 16), "red").save(file, exif=b"Exif\0\0" + note)
    assert read_upright(file).shape == (16, 32, 3)
