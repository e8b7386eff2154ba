"""The layers of the code, and the code that each stage depends on."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.engine.source import code_of, imported_files, imports, within
from pipeline.settings import inputs, params
from pipeline.settings.code import IRRELEVANT, IRRELEVANT_TO, RELEVANT, TEMPLATES, digests, files_of
from pipeline.settings.paths import INPUTS
from tests.conftest import ROOT

LAYERS = [  # each imports only what stands below it
    *("__main__", "commands", "stages", "reporting", "measuring", "training", "tracking"),
    *("scoring", "data", "settings", "engine", "contexts", "ann"),
]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
FILES = sorted(
    f.relative_to(ROOT) for p in ("ann", "contexts", "pipeline") for f in (ROOT / p).rglob("*.py")
)


def module_of(file: Path) -> str:
    return ".".join(file.with_suffix("").parts).removesuffix(".__init__")


def layer_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if parts[0] == "pipeline" and len(parts) > 1 else parts[0]


ARROWS = {module_of(f): imports(ROOT, f) - {module_of(f)} for f in FILES}


def test_every_arrow_goes_down_the_stairs() -> None:
    climbing = [
        f"{module} imports {other}"
        for module, others in ARROWS.items()
        for other in others
        if {module, other} != {"pipeline"}
        and LAYERS.index(layer_of(module)) > LAYERS.index(layer_of(other))
    ]
    assert climbing == []


def test_no_module_imports_a_stage_or_a_command() -> None:
    for module, others in ARROWS.items():
        assert [o for o in others if layer_of(o) in ("stages", "commands")] == [], module


def test_no_import_runs_in_a_circle() -> None:
    ended: set[str] = set()

    def follow(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in ended:
            for other in ARROWS[module]:
                follow(other, (*path, module))
            ended.add(module)

    for module in ARROWS:
        follow(module, ())


def unneeded(stage: str) -> set[str]:
    return {*IRRELEVANT, *IRRELEVANT_TO.get(stage, ())} - RELEVANT.get(stage, set())


def with_packages(modules: set[str]) -> set[str]:
    """Add what Python loads because the modules lie in packages, whose names say nothing more."""
    known: set[str] = set()
    waiting = set(modules)
    while waiting:
        known |= waiting
        packages = {module.rpartition(".")[0] for module in waiting} - {""}
        waiting = packages.union(*(ARROWS.get(module, set()) for module in waiting)) - known
    return known


@pytest.mark.parametrize("stage", [s for s in STAGES if s != "check"])
def test_a_stage_depends_on_all_that_it_imports_but_for_what_has_a_reason(stage: str) -> None:
    """The modules that Python really loads, against those that were read from the files."""
    script = (
        "import sys, json; import pipeline.stages.{}; "
        "print(json.dumps([m for m in sys.modules if m.split('.')[0] in {!r}]))"
    ).format(stage, ("ann", "contexts", "pipeline"))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True, encoding="utf-8"
    )
    loaded = set(json.loads(done.stdout))
    without = frozenset(unneeded(stage))
    shaping = {module_of(file) for file in files_of(stage)}
    reached = {module_of(f) for f in imported_files(f"pipeline.stages.{stage}", frozenset())}
    assert loaded <= with_packages(reached)
    for module in loaded & reached - shaping:
        # It has a reason, or only what has one imports it.
        importers = {m for m in shaping if module in ARROWS[m]}
        assert within(module, without) or not importers, module


def test_every_reason_is_needed() -> None:
    for stage in STAGES.keys() - {"check"}:
        reached = {module_of(f) for f in imported_files(f"pipeline.stages.{stage}", frozenset())}
        for name in IRRELEVANT_TO.get(stage, ()):
            assert any(within(module, frozenset({name})) for module in reached), (stage, name)
    used = set().union(*ARROWS.values())
    for name in IRRELEVANT:
        assert any(within(module, frozenset({name})) for module in used), name


def copied(folder: Path) -> Path:
    for name in ("ann", "contexts", "pipeline"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.parametrize(
    ("file", "stale", "current"),
    [
        ("pipeline/reporting/statistics.py", {"report", "figures"}, {"train", "evaluate", "scene"}),
        ("pipeline/training/loop.py", {"train"}, {"evaluate", "report", "prepare", "plan"}),
        ("pipeline/training/recipe.py", {"train", "networks", "plan"}, {"evaluate", "report"}),
        ("ann/fast.py", {"train", "evaluate", "networks", "pictures"}, {"scene", "prepare"}),
        ("pipeline/scoring/results.py", {"evaluate", "imported"}, {"train", "prepare"}),
        ("pipeline/engine/progress.py", set(), set(STAGES) - {"check"}),
        ("pipeline/engine/memory.py", {"networks", "efficiency"}, {"train", "report"}),
    ],
)
def test_a_change_of_code_makes_stale_what_it_shapes_and_nothing_else(
    file: str, stale: set[str], current: set[str], tmp_path: Path
) -> None:
    root = copied(tmp_path)
    before = {stage: digests(stage, root) for stage in stale | current}
    changed = root / file
    text = changed.read_text(encoding="utf-8")
    changed.write_text(f"# Only words.\n{text}", encoding="utf-8")
    assert {stage: digests(stage, root) for stage in before} == before
    changed.write_text(f"{text}\nMORE = 1\n", encoding="utf-8")
    assert {stage for stage in before if digests(stage, root) != before[stage]} == stale


def test_a_pages_styles_and_templates_shape_the_pages_alone() -> None:
    page = ROOT / "pipeline/reporting/page"
    files = {f.relative_to(ROOT).as_posix() for f in page.iterdir() if f.suffix in TEMPLATES}
    assert len(files) == 4
    for stage in STAGES:
        shaped = files & digests(stage).keys()
        assert shaped == (files if stage in ("report", "index") else set()), stage


def test_words_are_no_code(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    plain = 'def f(x):\n    ""\n    return x["#"] + "# no comment"\n'
    file.write_text(plain, encoding="utf-8")
    bare = code_of(file)
    for text in (
        plain.replace('    ""', '    """Return\n\n    an ä item."""  # why'),
        f"\n# a comment\n\n{plain}   \n\n",
    ):
        file.write_text(text, encoding="utf-8")
        assert code_of(file) == bare
    file.write_text(plain.replace("no comment", "text"), encoding="utf-8")
    assert code_of(file) != bare


def test_imports_in_functions_count_and_those_of_types_do_not(tmp_path: Path) -> None:
    for name in ("ann", "pipeline/settings/paths", "pipeline/stages/collect", "pipeline/late"):
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("", encoding="utf-8")
    (tmp_path / "pipeline/module.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "import json\n"
        "from ann import Sampler\n"
        "from pipeline.settings import paths\n"
        "if TYPE_CHECKING:\n    from pipeline import late\n"
        "def late():\n    import pipeline.stages.collect\n",
        encoding="utf-8",
    )
    found = {"ann", "pipeline.settings.paths", "pipeline.stages.collect"}
    assert imports(tmp_path, Path("pipeline/module.py")) == found


def test_each_stage_depends_on_its_file_of_inputs_and_has_its_name() -> None:
    settings = params.load(ROOT / "params.yaml")
    written = {INPUTS / file for file in inputs.files(settings)}
    for name, definition in STAGES.items():
        stage = definition.get("do", definition)
        assert stage["cmd"].split()[:4] == ["python", "-m", "pipeline", name]
        assert "params" not in stage
        if name == "check":
            continue
        own = [d for d in stage["deps"] if d.startswith(str(INPUTS))]
        assert len(own) == 1, name
        if "${" not in own[0]:
            assert Path(own[0]) in written
        assert own[0].removeprefix(f"{INPUTS}/").split("/")[0].removesuffix(".json") == name
    for stage in ("train", "evaluate"):
        for variant in settings.rows:
            assert INPUTS / stage / f"{variant}.json" in written
