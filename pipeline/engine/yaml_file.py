"""Read and write YAML with DVC's own parser, so that params.yaml means the same to both.

That is ruamel.yaml, which reads YAML 1.2: 1e-5 is a number, and yes is a string.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, events

from pipeline.engine.errors import InputError, quote_name

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
