"""Generated bad input: always a right result or a sentence that names it, and never a hang."""

import copy
import io
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from pipeline.data.formats import BACKGROUND, DATASETS, IGNORE
from pipeline.data.formats.files import read_intact
from pipeline.data.formats.reading import read_sample
from pipeline.engine import yaml_file
from pipeline.engine.errors import InputError
from pipeline.engine.files import digest
from pipeline.settings import inputs, params, schema
from tests.conftest import ROOT
from tests.trees import TREES

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
GOOD = yaml_file.read_yaml(ROOT / "params.yaml")
FIXED: dict[str, Any] = {  # the same examples in each run, on a busy machine, too
    "derandomize": True,
    "database": None,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.generate, Phase.shrink],
}


T = TypeVar("T")


def tried(call: Callable[[], T]) -> tuple[T | None, str]:
    """What the call returns; or None, and the one sentence in which it refused."""
    try:
        return call(), ""
    except InputError as error:
        told = str(error)
    assert told.isprintable(), repr(told)
    assert 10 < len(told) < 600, told
    return None, told


# Parameters


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value, mappings and lists included."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def nested(depth: int, wide: int) -> list[Any]:
    """A list that holds wide^depth values in the memory of a few, as aliases make it."""
    value: list[Any] = [0]
    for _ in range(depth):
        value = [value] * wide
    return value


numbers = st.one_of(
    st.integers(),
    st.integers(-3, 9),
    st.floats(),
    st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**400, math.inf, -math.inf, math.nan, 1e308]),
)
scalars = st.one_of(
    numbers,
    st.none(),
    st.booleans(),
    st.text(max_size=20),
    st.sampled_from(
        ["", "a\nb", "\x00", "9" * 5000, "x" * 10**5, "none", "afnb", "../..", "é", "\u2028"]
    ),
    st.dates(),
    st.binary(max_size=4),
)
keys = st.one_of(st.text(max_size=12), st.sampled_from(["sampling", "window", "widths", "ohem"]))
values = st.one_of(
    scalars,
    st.lists(scalars, max_size=5),
    st.lists(numbers, min_size=2, max_size=2),
    st.dictionaries(st.one_of(keys, scalars), scalars, max_size=4),
    st.sampled_from([nested(40, 9), GOOD, GOOD["variants"]["apnb"]]),
)
PLACES = sorted(places(GOOD), key=str)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """The shipped settings with up to three values replaced, added, taken away or swapped."""
    raw = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(PLACES))
        place, other = raw, draw(st.sampled_from(PLACES))
        try:
            for step in path:
                place = place[step]
            how = draw(st.sampled_from(["replace", "add", "delete", "other"]))
            if how == "replace":
                place[last] = copy.deepcopy(draw(values))
            elif how == "add" and isinstance(place, list):
                place.append(copy.deepcopy(draw(values)))
            elif how == "add":
                place[draw(keys)] = copy.deepcopy(draw(values))
            elif how == "delete":
                del place[last]
            else:
                value: Any = GOOD
                for step in other:
                    value = value[step]
                place[last] = copy.deepcopy(value)
        except (KeyError, IndexError, TypeError, AttributeError):
            continue  # an earlier change took the place away
    return raw


def judged(load: Callable[[], schema.Params]) -> bool:
    """Whether it is taken; then all that the stages make of it must exist."""
    found, refusal = tried(load)
    if found is None:
        assert "params.yaml" in refusal
        return False
    for name in found.variants:
        digest(found.resolve_network(name))
    json.dumps(inputs.values(found), allow_nan=False)
    return True


@pytest.mark.slow
def test_bad_parameters_are_refused_in_a_sentence() -> None:
    taken = []

    @settings(**FIXED, max_examples=2500)
    @given(mutated())
    def check(raw: Any) -> None:
        taken.append(judged(lambda: params.check(raw)))

    check()
    assert 2000 > sum(taken) > 50  # both happen


garbage = st.sampled_from(
    [
        "!!python/object/apply:os.system ['true']",
        "!!python/name:os.system",
        "!!timestamp soon",
        "!!bool perhaps",
        "!!int x",
        "!!float x",
        "!!binary x",
        "!unknown {a: 1}",
        "2020-13-45",
        "9" * 5000,
        "&a [*a]",
        "*released",
        "*nowhere",
        "&a {<<: *a}",
        "[" * 3000,
        "{" * 3000,
        "? {a: 1}",
        "{[1]: 2}",
        "\x00",
        "\x85\u2028",
        '"\\ud800"',
        "|\n  a\n b",
        "1: 2: 3",
        "- 1",
        ".inf",
        "1e400",
        "1:99",
        "%",
        "@",
        "`",
        "=",
        "<<",
        "\ufeff",
        "\n---\n",
        "\t",
    ]
)


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """The shipped file with garbage in the place of a value or a line, cut, or with other bytes."""
    lines = TEXT.splitlines()
    line = draw(st.integers(0, 70))
    how = draw(st.sampled_from(["value", "line", "cut", "bytes", "twice", "anchor", "indent"]))
    if how == "value":
        lines[line] = re.sub(r":.*", lambda _: ": " + draw(garbage), lines[line])
    elif how == "line":
        lines[line] = draw(garbage)
    elif how == "twice":
        lines.insert(line, lines[draw(st.integers(0, 70))])
    elif how == "anchor":
        lines[line] = lines[line].replace(":", ": &a", 1)
        lines.append("seeds: *a")
    elif how == "indent":
        lines[line] = " " + lines[line]
    text = "\n".join(lines).encode(errors="surrogatepass")
    place = draw(st.integers(0, len(text)))
    if how == "cut":
        return text[:place]
    if how == "bytes":
        return text[:place] + draw(st.binary(min_size=1, max_size=3)) + text[place + 1 :]
    return text


def test_a_mangled_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    file, taken = tmp_path / "params.yaml", []

    @settings(**FIXED, max_examples=200)
    @given(mangled())
    def check(content: bytes) -> None:
        file.write_bytes(content)
        taken.append(judged(lambda: params.load(file)))

    check()
    assert 0 < sum(taken) < len(taken)


# Images and labels


def altered(content: bytes) -> st.SearchStrategy[bytes]:
    """A file that was cut, or of which some bytes are others."""

    def flip(places: list[tuple[int, int]]) -> bytes:
        spoilt = bytearray(content)
        for place, bits in places:
            spoilt[place % len(content)] ^= bits
        return bytes(spoilt)

    place = st.integers(0, len(content) + 50)  # half of them in the header
    places = st.lists(st.tuples(place | st.integers(0, 140), st.integers(1, 255)), min_size=1)
    return st.one_of(
        st.integers(0, len(content) - 1).map(lambda n: content[:n]),
        places.map(flip),
        st.binary(max_size=300).map(lambda tail: content + tail),
        st.binary(max_size=300),
    )


def png(pixels: np.ndarray, mode: str, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(file, form)
    return file.getvalue()


def mat(values: np.ndarray, name: str, compressed: bool) -> bytes:
    file = io.BytesIO()
    savemat(file, {name: values}, do_compression=compressed)
    return file.getvalue()


def label_files(suffix: str, size: tuple[int, int]) -> st.SearchStrategy[bytes]:
    """Whole label files: other values, sizes, modes and formats."""
    seeds, tops = st.integers(0, 99), st.sampled_from([1, 11, 12, 20, 34, 60, 151, 256])
    sizes = st.sampled_from([size, size, size, size[::-1], (1, 1), (0, 0)])

    def drawn(seed: int, top: int, of: tuple[int, int]) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, top, of)

    maps = st.builds(drawn, seeds, tops, sizes)
    if suffix == ".mat":
        kinds = st.sampled_from([np.uint8, np.uint16, np.int64, float, complex, object, str])
        names = st.sampled_from(["LabelMap", "LabelMap", "labelmap", "x"])
        typed = st.builds(lambda m, kind: m.astype(kind), maps, kinds)
        return st.builds(mat, typed, names, st.booleans())
    whole = maps.filter(lambda m: m.size > 0)
    modes = st.sampled_from(["L", "L", "L", "P", "1", "RGB", "RGBA", "LA", "CMYK", "I", "F"])
    forms = st.sampled_from(["PNG", "PNG", "PNG", "TIFF", "JPEG", "GIF", "BMP"])

    def saved(pixels: np.ndarray, mode: str, form: str) -> bytes:
        try:
            return png(pixels, mode, form)
        except (OSError, ValueError):  # a mode that the format cannot hold
            return png(pixels, "L")

    return st.builds(saved, whole, modes, forms)


@pytest.mark.slow
@pytest.mark.parametrize("name", TREES)
def test_bad_labels_are_refused_by_name(name: str, tmp_path: Path) -> None:
    dataset = DATASETS[name]
    pair = dataset.pairs(TREES[name](tmp_path), "train")[0]
    original, expected = pair.label.read_bytes(), read_sample(pair, dataset).label
    known = {*range(len(dataset.classes)), IGNORE, BACKGROUND}
    told = {"spoilt": [0, 0], "whole": [0, 0]}

    def outcome(content: bytes, kind: str) -> np.ndarray | None:
        pair.label.write_bytes(content)
        sample, refusal = tried(lambda: read_sample(pair, dataset))
        told[kind][sample is not None] += 1
        if sample is None:
            assert str(pair.label) in refusal
            return None
        assert sample.label.shape == expected.shape
        assert set(np.unique(sample.label).tolist()) <= known
        return sample.label

    @settings(**FIXED, max_examples=400)
    @given(altered(original))
    def spoilt(content: bytes) -> None:
        label = outcome(content, "spoilt")
        if label is not None and pair.label.suffix == ".png":  # which has check sums
            assert np.array_equal(label, expected), "spoilt, and taken for another label"

    @settings(**FIXED, max_examples=300)
    @given(label_files(pair.label.suffix, expected.shape))
    def whole(content: bytes) -> None:
        label = outcome(content, "whole")
        if label is not None and pair.label.suffix == ".png":
            image = Image.open(io.BytesIO(content))
            assert image.format == "PNG"
            if name != "pascal_context":  # whose merged numbers are not those of the lookup
                assert np.array_equal(label, dataset.lookup[np.asarray(image)])

    spoilt()
    whole()
    assert all(count > 5 for counts in told.values() for count in counts), told


@pytest.mark.parametrize("name", ["camvid", "ade20k"])  # PNG and JPEG
def test_bad_images_are_refused_by_name(name: str, tmp_path: Path) -> None:
    dataset = DATASETS[name]
    pair = dataset.pairs(TREES[name](tmp_path), "train")[0]
    original, expected = pair.image.read_bytes(), np.asarray(read_sample(pair, dataset).image)

    def as_prepared() -> Any:
        read_intact(pair.image)
        return np.asarray(read_sample(pair, dataset).image)

    @settings(**FIXED, max_examples=300)
    @given(altered(original))
    def check(content: bytes) -> None:
        pair.image.write_bytes(content)
        image, refusal = tried(as_prepared)
        if image is None:
            assert str(pair.image) in refusal or str(pair.label) in refusal  # of another size
            return
        assert image.shape == expected.shape
        if pair.image.suffix == ".png":
            assert np.array_equal(image, expected)

    check()
