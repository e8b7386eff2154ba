"""Where a table or a figure comes from, told by the committed results and by nothing else.

So that a report is the same wherever and whenever it is made. MLflow's own run ids are another
in each store, so a run is told by the name that it has in all of them.
"""

from collections.abc import Iterable
from typing import Any

from pipeline.common.files import digest
from pipeline.common.provenance import run_name

Record = dict[str, Any]
Origin = dict[str, Any]
NOT_RECORDED = "not recorded"
_DIRTY = {True: "(with changes)", False: "(clean)", None: "(clean or not: unknown)"}


def origin(records: Iterable[Record]) -> Origin:
    """What these runs and measurements have in common, each different value once.

    records: what trainings, imported checkpoints and the stages of cost left. settings is a digest
    of the parameters of all of them; hours are those of the trainings.
    """
    found = list(records)
    speeds = [r["speed"] for r in found if "speed" in r]
    return {
        "commits": _each(r["code"]["commit"] or "unknown" for r in found),
        "dirty": _dirty([r["code"]["dirty"] for r in found]),
        "settings": digest([_settings(r) for r in found])[:16] if found else None,
        "data": _each(r["dataset"]["digest"] for r in found if "dataset" in r),
        "lock": _each(r["environment"].get("lock") or NOT_RECORDED for r in found),
        "hardware": _each(hardware(r["environment"]) for r in found),
        "libraries": _each(_libraries(r["environment"]) for r in found),
        "hours": round(sum(s["seconds"] for s in speeds) / 3600, 3) if speeds else None,
        "runs": [run_name(r) for r in found if "fingerprint" in r],
    }


def hardware(environment: Record) -> str:
    """The device, or the processor and its cores where there is none, and the system."""
    device = environment["device"]
    if device in ("cpu", environment["cpu"]):
        device = f"{environment['cpu']}, {environment['cores']} cores"
    return f"{device}, {environment['system']}"


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


def _settings(record: Record) -> Any:
    """The parameters that the record tells, whichever kind it is."""
    own = {k: v for k, v in record.items() if k in ("profile", "seed", "checkpoint", "network")}
    return own | {
        k: record[k] for k in ("config", "settings", "crop", "iterations", "limit") if k in record
    }


def _libraries(environment: Record) -> str:
    versions = {"Python": environment["python"], **environment["libraries"]}
    return ", ".join(f"{name} {version}" for name, version in versions.items())
