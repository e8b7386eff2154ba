"""State where a table or a figure comes from, from the committed results alone.

So a report is the same wherever and whenever it is made. MLflow gives a run another id in each
store, so a run has the name here that it has in all of them.
"""

from collections.abc import Iterable
from typing import TypedDict

from pipeline.engine.files import digest
from pipeline.settings.records import (
    BlockCosts,
    CheckpointLine,
    Environment,
    NetworkCosts,
    RunRecord,
)

Source = RunRecord | CheckpointLine | NetworkCosts | BlockCosts
NOT_RECORDED = "not recorded"
_SETTINGS = {"profile", "seed", "checkpoint", "network"}
_SETTINGS |= {"config", "settings", "crop", "iterations", "limit"}
_DIRTY = {True: "(with changes)", False: "(clean)", None: "(clean or not: unknown)"}


class Origin(TypedDict):
    """Where a table comes from, as reports/tables/provenance.json has it: each value once.

    `settings` is a digest of the parameters of all runs and measurements. `hours` are those of
    the trainings.
    """

    commits: list[str]
    dirty: bool | None
    settings: str | None
    data: list[str]
    lock: list[str]
    hardware: list[str]
    libraries: list[str]
    hours: float | None
    runs: list[str]


def find_origin(sources: Iterable[Source]) -> Origin:
    """Return what these runs, checkpoints and measurements come from."""
    sources = list(sources)
    records = [s.record if isinstance(s, CheckpointLine) else s for s in sources]
    runs = [s for s in sources if isinstance(s, RunRecord)]
    seconds = sum(r.speed.seconds for r in runs)
    return {
        "commits": _remove_duplicates(r.code.commit or "unknown" for r in records),
        "dirty": _combine_dirty([r.code.dirty for r in records]),
        "settings": digest([_settings(r.as_json()) for r in records])[:16] if records else None,
        "data": _remove_duplicates(d for s in sources if (d := _data(s))),
        "lock": _remove_duplicates(r.environment.lock or NOT_RECORDED for r in records),
        "hardware": _remove_duplicates(hardware(r.environment) for r in records),
        "libraries": _remove_duplicates(_libraries(r.environment) for r in records),
        "hours": round(seconds / 3600, 3) if runs else None,
        "runs": [r.run_name for r in runs],
    }


def _data(source: Source) -> str | None:
    """Return the digest of the data; None for measurements, which have none."""
    if isinstance(source, RunRecord):
        return source.dataset.digest
    return source.scores.dataset_digest if isinstance(source, CheckpointLine) else None


def hardware(environment: Environment) -> str:
    """Return the device, or the processor and its cores if there is none, and the system."""
    device = environment.device
    if device in ("cpu", environment.cpu):
        device = f"{environment.cpu}, {environment.cores} cores"
    return f"{device}, {environment.system}"


def describe_origin(origin: Origin, runs: bool = False) -> str:
    """Return the origin in one line, with the runs' names if `runs` is set."""
    if not origin["commits"]:
        return "Provenance: no run of this project; from params.yaml and published.yaml."
    parts = [
        f"commit {_join(c[:10] for c in origin['commits'])} {_DIRTY[origin['dirty']]}",
        f"settings {origin['settings']}",
        *([f"data {_join(d[:12] for d in origin['data'])}"] if origin["data"] else []),
        f"lock file {_join(x if x == NOT_RECORDED else x[:12] for x in origin['lock'])}",
        _join(origin["hardware"]),
        _join(origin["libraries"]),
    ]
    hours = origin["hours"]
    parts.append(f"hours {NOT_RECORDED}" if hours is None else f"{hours:.2f} hours of training")
    if origin["runs"]:
        parts.append(f"{len(origin['runs'])} runs")
    names = f": {', '.join(origin['runs'])}" if runs and origin["runs"] else ""
    return f"Provenance: {'; '.join(parts)}{names}."


def _combine_dirty(flags: list[bool | None]) -> bool | None:
    """Return True if any tree differed from its commit, otherwise None if one is unknown."""
    return True if True in flags else None if None in flags else False


def _remove_duplicates(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _join(values: Iterable[str]) -> str:
    return " and ".join(values)


def _settings(record: dict[str, object]) -> dict[str, object]:
    """The parameters that the record tells, whichever kind it is."""
    return {k: v for k, v in record.items() if k in _SETTINGS}


def _libraries(environment: Environment) -> str:
    versions = {"Python": environment.python, **environment.libraries}
    return ", ".join(f"{name} {version}" for name, version in versions.items())
