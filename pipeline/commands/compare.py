"""Compare two sets of results: revisions, machines, or one with the working tree's.

    python -m pipeline compare BEFORE [AFTER] [--experiment NAME]

Each is a file of results, a git revision, or REVISION:FILE. Without AFTER it is the working tree's
file. It says which rows differ, whether the weights of equal runs are identical, within the band of
rounding (see pipeline.reporting.band) or outside, and which claims have another verdict. The exit
status is 1 if a verdict changed.
"""

import csv
import io
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.engine.errors import InputError
from pipeline.reporting.band import Curve, is_within, measure_differences
from pipeline.reporting.claims.judging import judge_claims
from pipeline.reporting.columns import Column, Number, Table
from pipeline.reporting.inputs import collect_inputs
from pipeline.reporting.rendering import to_markdown
from pipeline.reporting.results import mean
from pipeline.settings import params, records
from pipeline.settings.paths import ReportPaths, locate_results
from pipeline.settings.records import Line, RunLine
from pipeline.settings.schema import Params

IDENTICAL, WITHIN, OUTSIDE = "identical", "within the band", "outside the band"
UNKNOWN = "different weights, without curves to compare"


@dataclass(frozen=True)
class Side:
    """One of the two sets.

    Attributes:
        name: Its name in the output.
        lines: Its results.
        curves: The losses of each run, by variant and seed; empty without such a file.
    """

    name: str
    lines: list[Line]
    curves: dict[tuple[str, int], Curve]

    @property
    def runs(self) -> dict[tuple[str, int], RunLine]:
        return {(r.variant, r.seed): r for r in self.lines if isinstance(r, RunLine)}


def read_side(word: str, experiment: str) -> Side:
    """Return the results that a word of the command line names.

    Raises:
        InputError: There is no such file or revision, or it has no results of the experiment.
    """
    file = Path(word)
    if file.is_file():
        results, curves = file, ReportPaths(file.stem).folder / "curves.csv"
        near = file.parent.parent / file.stem / curves.name  # reports/EXPERIMENT/curves.csv
        return _parse(word, results.read_text(encoding="utf-8"), results, _read_text(near))
    revision, _, path = word.partition(":")
    results = Path(path) if path else locate_results(experiment)
    folder = results.parent if path else ReportPaths(experiment).folder
    text = _show(revision, results)
    if text is None:
        raise InputError(
            f"{word!r} is no file, and git has no {results} at {revision!r}; give a file of "
            f"results, a revision, or REVISION:FILE"
        )
    return _parse(word, text, results, _show(revision, folder / "curves.csv"))


def _read_text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _show(revision: str, file: Path) -> str | None:
    """Return a file of a revision; None if there is none."""
    command = ["git", "show", f"{revision}:./{file.as_posix()}"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    return None if done.returncode else done.stdout


def _parse(name: str, text: str, path: Path, curves: str | None) -> Side:
    losses: dict[tuple[str, int], dict[int, float]] = {}
    for row in csv.DictReader(io.StringIO(curves or "")):
        run = losses.setdefault((row["variant"], int(row["seed"])), {})
        run[int(row["iteration"])] = float(row["loss"])
    return Side(name, records.read_lines(text, path), dict(losses))


def compare_run(before: Side, after: Side, key: tuple[str, int]) -> str:
    """Say how far a run of both sides is the same."""
    first, second = before.runs[key].record, after.runs[key].record
    if first.weights_sha256 == second.weights_sha256:
        return IDENTICAL
    if key not in before.curves or key not in after.curves:
        return UNKNOWN
    try:
        differences = measure_differences(before.curves[key], after.curves[key])
    except InputError:  # other iterations
        return OUTSIDE
    return WITHIN if is_within(*differences) else OUTSIDE


COLUMNS = (
    Column("variant"),
    Column("n"),
    Number("before", format=".2f", missing="-"),
    Number("after", format=".2f", missing="-"),
    Number("change", format="+z.2f", missing="-"),
    Column("runs", "equal seeds"),
)


def compare_rows(before: Side, after: Side) -> pd.DataFrame:
    """Return a row for each variant; mIoU in percent."""
    names = dict.fromkeys(variant for variant, _ in [*before.runs, *after.runs])
    rows = []
    for name in names:
        own = [
            [run for run in side.runs.values() if run.variant == name] for side in (before, after)
        ]
        shared = [key for key in before.runs if key in after.runs and key[0] == name]
        counts = Counter(compare_run(before, after, key) for key in shared)
        rows.append(
            {
                "variant": name,
                "n": f"{len(own[0])} -> {len(own[1])}",
                "before": mean(own[0]),
                "after": mean(own[1]),
                "change": mean(own[1]) - mean(own[0]),
                "runs": ", ".join(f"{number} {words}" for words, number in counts.items()),
            }
        )
    return pd.DataFrame(rows, columns=[column.key for column in COLUMNS])


def list_changed_verdicts(settings: Params, before: Side, after: Side) -> Iterator[str]:
    """Yield a line for each claim whose verdict changed."""
    first, second = (
        judge_claims(inputs.claims, inputs)
        for inputs in (collect_inputs(settings, side.name, side.lines) for side in (before, after))
    )
    for name, judgement in first.items():
        if judgement.verdict != second[name].verdict:
            yield f"{judgement.claim.words} {judgement.verdict} -> {second[name].verdict}"


def main(before: str, after: str | None = None, experiment: str | None = None) -> None:
    settings = params.load()
    name = experiment or settings.profile
    sides = [read_side(word, name) for word in (before, after or str(locate_results(name)))]
    print(f"before: {sides[0].name}\nafter: {sides[1].name}\n")
    print(to_markdown(Table(compare_rows(*sides), COLUMNS)))
    changed = list(list_changed_verdicts(settings, *sides))
    print(f"\n{len(changed)} verdicts changed")
    for line in changed:
        print(f"  {line}")
    if changed:
        sys.exit(1)
