"""Say where a table or a figure comes from, by the committed results and by nothing else.

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


def origin(sources: Iterable[Source]) -> Origin:
    """Return what these runs, checkpoints and measurements come from."""
    found = list(sources)
    made = [s.record if isinstance(s, CheckpointLine) else s for s in found]
    runs = [s for s in found if isinstance(s, RunRecord)]
    seconds = sum(r.speed.seconds for r in runs)
    return {
        "commits": _each(m.code.commit or "unknown" for m in made),
        "dirty": _dirty([m.code.dirty for m in made]),
        "settings": digest([_settings(m.as_json()) for m in made])[:16] if made else None,
        "data": _each(d for s in found if (d := _data(s))),
        "lock": _each(m.environment.lock or NOT_RECORDED for m in made),
        "hardware": _each(hardware(m.environment) for m in made),
        "libraries": _each(_libraries(m.environment) for m in made),
        "hours": round(seconds / 3600, 3) if runs else None,
        "runs": [r.run_name for r in runs],
    }


def _data(source: Source) -> str | None:
    """The digest of the data; None for measurements, which have none."""
    if isinstance(source, RunRecord):
        return source.dataset.digest
    return source.scores.dataset_digest if isinstance(source, CheckpointLine) else None


def hardware(environment: Environment) -> str:
    """The device, or the processor and its cores where there is none, and the system."""
    device = environment.device
    if device in ("cpu", environment.cpu):
        device = f"{environment.cpu}, {environment.cores} cores"
    return f"{device}, {environment.system}"


def line(found: Origin, runs: bool = False) -> str:
    """In one line of plain words; with `runs` their names too."""
    if not found["commits"]:
        return "Provenance: no run of this project; from params.yaml and published.yaml."
    parts = [
        f"commit {_words(c[:10] for c in found['commits'])} {_DIRTY[found['dirty']]}",
        f"settings {found['settings']}",
        *([f"data {_words(d[:12] for d in found['data'])}"] if found["data"] else []),
        f"lock file {_words(x if x == NOT_RECORDED else x[:12] for x in found['lock'])}",
        _words(found["hardware"]),
        _words(found["libraries"]),
    ]
    hours = found["hours"]
    parts.append(f"hours {NOT_RECORDED}" if hours is None else f"{hours:.2f} hours of training")
    if found["runs"]:
        parts.append(f"{len(found['runs'])} runs")
    names = f": {', '.join(found['runs'])}" if runs and found["runs"] else ""
    return f"Provenance: {'; '.join(parts)}{names}."


def _dirty(flags: list[bool | None]) -> bool | None:
    """Whether any tree differed from its commit; None if none is known to and one is not known."""
    return True if True in flags else None if None in flags else False


def _each(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _words(values: Iterable[str]) -> str:
    return " and ".join(values)


def _settings(record: dict[str, object]) -> dict[str, object]:
    """The parameters that the record tells, whichever kind it is."""
    return {k: v for k, v in record.items() if k in _SETTINGS}


def _libraries(environment: Environment) -> str:
    versions = {"Python": environment.python, **environment.libraries}
    return ", ".join(f"{name} {version}" for name, version in versions.items())
