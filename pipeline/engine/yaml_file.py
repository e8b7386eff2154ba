"""Read and write YAML with DVC's own parser, so that params.yaml means the same to both.

That is ruamel.yaml, which reads YAML 1.2: 1e-5 is a number, and yes is a string.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, events

from pipeline.engine.errors import InputError, quote_name

WIDTH = 100  # of a line that is written into a file
NULL_TAG = "tag:yaml.org,2002:null"
MAX_DEPTH = 64  # the parser recurses in C, and deeper files could overflow its stack


@dataclass
class _Level:
    """A mapping or list that the parser is in.

    Attributes:
        is_mapping: Whether it is a mapping.
        name: The current key, or the current index of a list.
        names: The keys so far.
        count: The nodes so far; keys and values both count.
    """

    is_mapping: bool
    name: str = ""
    names: set[str] = field(default_factory=set)
    count: int = 0

    def step(self) -> None:
        """Move to the next value of a list."""
        self.name, self.count = str(self.count), self.count + 1

    @property
    def is_at_key(self) -> bool:
        """Tell whether the next node is a key; keys and values alternate."""
        return self.is_mapping and self.count % 2 == 0


def read_yaml(path: Path) -> Any:
    """Return the value of a YAML file.

    Raises:
        InputError: A value is an alias, a key is a merge key, or a key occurs twice. In such a file
            `dvc exp run -S` would not change exactly the key that it names.
    """
    text = path.read_text(encoding="utf-8")
    _refuse_aliases(text, path)
    return YAML(typ="safe").load(text)


def write_yaml(path: Path, value: Any) -> None:
    """Write mappings, lists and scalars as YAML in their order, without aliases."""
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.representer.ignore_aliases = lambda _: True
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(value, file)


def replace_values(text: str, values: Mapping[str, Any]) -> str:
    """Return a YAML text with other values for keys of its top level.

    Every other character stays, comments too.

    Args:
        text: The text, a mapping.
        values: The new values by key; every key is in the text.
    """
    places = _find_entries(text)
    for key in sorted(values, key=lambda name: places[name], reverse=True):
        start, end = places[key]
        text = text[:start] + _format_entry(key, values[key]) + text[end:]
    return text


def _format_entry(key: str, value: Any) -> str:
    """Return `key: value`; a mapping of mappings gets a line for each of them."""
    yaml = YAML()
    yaml.default_flow_style = None if isinstance(value, dict | list) else False
    yaml.width = WIDTH
    yaml.representer.add_representer(type(None), lambda r, _: r.represent_scalar(NULL_TAG, "null"))
    file = io.StringIO()
    yaml.dump({key: value}, file)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def _find_entries(text: str) -> dict[str, tuple[int, int]]:
    """Return where each entry of the top level begins and ends, without comments after it."""
    places: dict[str, tuple[int, int]] = {}
    key, depth, is_key = "", 0, True
    for event in YAML(typ="rt").parse(text):
        if isinstance(event, events.CollectionEndEvent):
            depth -= 1
        if depth == 1 and isinstance(event, events.NodeEvent):
            if is_key:
                key = str(getattr(event, "value", ""))
                places[key] = (event.start_mark.index, event.end_mark.index)
            is_key = not is_key
        # The end of a block is where the next token begins, so what counts is its last content.
        is_content = isinstance(event, events.ScalarEvent) or (
            isinstance(event, events.CollectionEndEvent)
            and event.start_mark.index < event.end_mark.index
        )
        if depth and key and is_content:
            places[key] = (places[key][0], max(places[key][1], event.end_mark.index))
        if isinstance(event, events.CollectionStartEvent):
            depth += 1
    return places


def _refuse_aliases(text: str, path: Path) -> None:
    """Check the parser's events, which needs no recursion and expands no alias."""
    levels: list[_Level] = []
    for event in YAML(typ="safe").parse(text):
        if isinstance(event, events.CollectionEndEvent):
            levels.pop()
        if not isinstance(event, events.NodeEvent):
            continue
        if levels:
            _enter(levels, event, path)
        if isinstance(event, events.AliasEvent):
            raise InputError(
                f"{path}: {_format_key(levels)} is the alias *{event.anchor}; write its values "
                f"out, because `dvc exp run -S` does not change one of the places alone"
            )
        if isinstance(event, events.CollectionStartEvent):
            levels.append(_Level(isinstance(event, events.MappingStartEvent)))
            if len(levels) > MAX_DEPTH:
                raise InputError(
                    f"{path}: {levels[0].name} is nested deeper than {MAX_DEPTH} levels"
                )


def _enter(levels: list[_Level], event: events.NodeEvent, path: Path) -> None:
    """Record the key, or the index in a list, of an event."""
    level = levels[-1]
    if not level.is_mapping:
        return level.step()
    if level.is_at_key:
        scalar = event if isinstance(event, events.ScalarEvent) else None
        level.name = scalar.value if scalar else ""
        if scalar and scalar.value == "<<" and not scalar.style:
            raise InputError(f"{path}: {_format_key(levels)} is a merge key; write its values out")
        if level.name and level.name in level.names:
            raise InputError(f"{path}: {_format_key(levels)} stands twice; keep one")
        level.names.add(level.name)
    level.count += 1
    return None


def _format_key(levels: list[_Level]) -> str:
    return ".".join(quote_name(level.name) for level in levels) or "the file"
