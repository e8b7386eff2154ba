"""Make one experiment of the results of several machines or people.

    python -m pipeline merge NAME FILE...

It writes reports/results/NAME.jsonl, which the index shows as an experiment of its own. A run that
two files have must be the same in both. All runs must be of the same code, data and settings.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.engine.errors import InputError
from pipeline.engine.files import flatten
from pipeline.settings import params, records
from pipeline.settings.paths import locate_results
from pipeline.settings.records import CheckpointLine, Line, RunLine
from pipeline.settings.records.results import Identity
from pipeline.settings.schema import Params

Facts = dict[str, object]


def read_results(file: Path) -> list[Line]:
    """Return the lines of a results file.

    Raises:
        InputError: It cannot be read, or a line is of another version or cut short.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError(f"{file} cannot be read ({reason}); give a .jsonl of results") from None
    return records.read_lines(text, file)


def merge(files: Mapping[Path, list[Line]]) -> list[Line]:
    """Return the lines of all files, each once.

    Raises:
        InputError: A run differs between two files, or two runs are not of the same code, data and
            settings.
    """
    merged: dict[Identity, tuple[Path, Line]] = {}
    for file, lines in files.items():
        for line in lines:
            key = line.identity
            other, known = merged.setdefault(key, (file, line))
            if known != line:
                raise InputError(
                    f"{describe(key)} differs between {other} and {file}; keep one of them, or "
                    f"merge each under a name of its own"
                )
    _require_equal(merged)
    measured = {key[1:] for key in merged if key[0] != "failure"}
    return [
        line for key, (_, line) in merged.items() if key[0] != "failure" or key[1:] not in measured
    ]


def describe(key: Identity) -> str:
    """Return the name of a line in words."""
    kind, name, seed = key
    return f"{kind} {name}" if seed is None else f"{kind} {name}-{seed}"


def _require_equal(merged: Mapping[Identity, tuple[Path, Line]]) -> None:
    first: dict[str, tuple[Identity, Path, Facts]] = {}
    for key, (file, line) in merged.items():
        for group, facts in _list_facts(line):
            known, place, expected = first.setdefault(group, (key, file, facts))
            for fact in facts.keys() | expected.keys():
                if facts.get(fact) != expected.get(fact):
                    raise InputError(
                        f"{fact} must be the same in all files: it is {facts.get(fact)} for "
                        f"{describe(key)} in {file} and {expected.get(fact)} for "
                        f"{describe(known)} in {place}; merge different results under other names"
                    )


def _list_facts(line: Line) -> Iterator[tuple[str, Facts]]:
    """Yield what must be the same: among all lines, and among the runs of a variant."""
    if not isinstance(line, RunLine | CheckpointLine):
        return
    shared: Facts = {"profile": line.record.profile, "protocols": list(line.scores.protocols)}
    shared["dataset digest"] = line.scores.dataset_digest
    yield "all", shared
    if isinstance(line, RunLine):
        settings: dict[str, Any] = line.record.model_dump(mode="json", include={"config"})
        settings["config"].pop("seed")
        own: Facts = dict(flatten(settings))
        yield f"variant {line.variant}", own | {"code digest": line.record.code.digest}


def order_lines(lines: list[Line], settings: Params) -> list[Line]:
    """Return the lines in the order of the collect stage: by kind, by row, by seed."""
    kinds, rows = ("run", "checkpoint", "failure", "external"), list(settings.variants)

    def rank(line: Line) -> tuple[int, int, str, int]:
        kind, name, seed = line.identity
        return kinds.index(kind), rows.index(name) if name in rows else len(rows), name, seed or 0

    return sorted(lines, key=rank)


def main(name: str, files: list[Path]) -> None:
    settings = params.load()
    params.require_new_experiment(settings, name)
    target = locate_results(name)
    lines = order_lines(merge({file: read_results(file) for file in files}), settings)
    for line in lines:
        if isinstance(line, RunLine | CheckpointLine):
            params.require_profile(settings, line.record.profile)
    if target.exists() and target.resolve() not in [file.resolve() for file in files]:
        raise InputError(f"{target} exists; give another name, or list it among the files")
    records.write_lines(target, lines)
    print(f"{target}: {len(lines)} lines; `dvc repro index` shows them")
