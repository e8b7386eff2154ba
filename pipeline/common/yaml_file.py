"""params.yaml by DVC's own parser, so that a text means the same to DVC and to the stages.

That is ruamel.yaml, of YAML 1.2: 1e-5 is a number, and yes is a word.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml import events as kinds

from pipeline.common.cli import InputError, word

DEEPEST = 64  # the parser builds its values by recursion in C, which deeper files could overflow


@dataclass
class _Level:
    """A mapping or list that the parser is in: the key that it is at, and those before it."""

    is_mapping: bool
    name: str = ""
    names: set[str] = field(default_factory=set)
    count: int = 0

    def step(self) -> None:
        """Go on to the next value of a list."""
        self.name, self.count = str(self.count), self.count + 1

    @property
    def at_key(self) -> bool:
        """Whether the next node is a key: keys and values take turns."""
        return self.is_mapping and self.count % 2 == 0


def read(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        InputError: A value is an alias, or a key is a merge key or stands twice. `dvc exp run -S`
            would not change exactly the key that it names.
    """
    text = path.read_text(encoding="utf-8")
    _refuse_shared(text, path)
    return YAML(typ="safe").load(text)


def write(path: Path, value: Any) -> None:
    """Write plain values as YAML in their order, without aliases."""
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.representer.ignore_aliases = lambda _: True
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(value, file)


def _refuse_shared(text: str, path: Path) -> None:
    """Go over the parser's events, which costs no recursion and expands no alias."""
    levels: list[_Level] = []
    for event in YAML(typ="safe").parse(text):
        if isinstance(event, kinds.CollectionEndEvent):
            levels.pop()
        if not isinstance(event, kinds.NodeEvent):
            continue
        if levels:
            _enter(levels, event, path)
        if isinstance(event, kinds.AliasEvent):
            raise InputError(
                f"{path}: {_key(levels)} is the alias *{event.anchor}; write its values out, "
                f"because `dvc exp run -S` does not change one of the places alone"
            )
        if isinstance(event, kinds.CollectionStartEvent):
            levels.append(_Level(isinstance(event, kinds.MappingStartEvent)))
            if len(levels) > DEEPEST:
                raise InputError(f"{path}: {levels[0].name} is nested deeper than {DEEPEST} levels")


def _enter(levels: list[_Level], event: kinds.NodeEvent, path: Path) -> None:
    """Note the key, or the place in a list, that an event is at."""
    level = levels[-1]
    if not level.is_mapping:
        return level.step()
    if level.at_key:
        scalar = event if isinstance(event, kinds.ScalarEvent) else None
        level.name = scalar.value if scalar else ""
        if scalar and scalar.value == "<<" and not scalar.style:
            raise InputError(f"{path}: {_key(levels)} is a merge key; write its values out")
        if level.name and level.name in level.names:
            raise InputError(f"{path}: {_key(levels)} stands twice; keep one")
        level.names.add(level.name)
    level.count += 1
    return None


def _key(levels: list[_Level]) -> str:
    return ".".join(word(level.name) for level in levels) or "the file"
