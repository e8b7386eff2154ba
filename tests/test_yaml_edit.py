"""Changes of single values in params.yaml keep every other character."""

import io
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.engine.yaml_file import replace_values

PARAMS = Path(__file__).parents[1] / "params.yaml"
TEXT = """# head
name: old   # said
list: [1,
  2]
# of the block
block:
  a: {x: 1}   # in it

# tail
last: {}
"""


def load(text: str) -> dict:
    return YAML(typ="safe").load(io.StringIO(text))


@pytest.mark.parametrize(
    "values",
    [
        {"name": "new"},
        {"name": "a: #b", "list": [3, None, "é"]},
        {"block": {"long": {"file": "/a b/" + "c" * 120, "layout": "mmseg"}, "b": {"y": 2}}},
        {"last": {"k": {"f": "x"}}, "block": {}},
        {"list": list(range(100, 160))},
    ],
)
def test_only_the_named_values_change(values):
    text = replace_values(TEXT, values)
    assert load(text) == load(TEXT) | values
    for comment in ("# head", "   # said", "\n# of the block\n", "\n\n# tail\n"):
        assert comment in text


def test_the_same_values_give_params_yaml_again():
    text = PARAMS.read_text(encoding="utf-8")
    keys = ("profile", "seeds", "checkpoints")
    assert replace_values(text, {key: load(text)[key] for key in keys}) == text


def test_there_and_back():
    text = PARAMS.read_text(encoding="utf-8")
    old = load(text)["checkpoints"]
    other = replace_values(text, {"checkpoints": {"a": {"file": "b", "layout": "mmseg"}}})
    assert replace_values(other, {"checkpoints": old}) == text
