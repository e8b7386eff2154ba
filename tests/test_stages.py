"""The code that each stage of dvc.yaml imports against the code that it depends on.

A stage runs again only if DVC sees a change. So what a stage imports, directly or not, must be
among its deps, unless it is named here with the reason why it cannot shape the stage's output.
"""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PACKAGES = ("ann", "contexts", "pipeline")

COMMON = {  # of pipeline.common, for every stage but those of OWN
    "cli": "how a stage starts, and the sentence with which it fails",
    "combinations": "refuses params.yaml, and changes no value of it",
    "contexts": "refuses params.yaml; a context's code is in data/settings/contexts",
    "failures": "keeps why a run failed, which is no output of DVC's",
    "gpus": "says which devices there are; the record names the one that was used",
    "files": "writes a file whole, and takes the digest of one",
    "memory": "counts what a run took, which is in its record only",
    "orphans": "ends a stage with its parent",
    "params": "the schema; the values that a stage reads are its params",
    "paths": "where files lie; dvc.yaml names the same places",
    "progress": "what stands on the screen",
    "provenance": "names the commit and the machine, which DVC does not compare",
    "trials": "refuses networks before they train, and changes no value of them",
    "warm": "starts a stage sooner",
    "workspace": "links to files beside DVC's temporary copies",
    "yaml_file": "reads params.yaml as DVC does",
}
OWN = {  # what of COMMON shapes the output of these stages all the same
    "check": {"combinations", "contexts", "params", "trials", "workspace", "yaml_file"},
    "efficiency": {"memory"},
    "networks": {"memory"},
}
TRAINED = "a context's code is in data/settings/contexts, and so in the weights"
NEUTRAL = {  # modules that single stages import
    "check": {
        "pipeline.common.checkpoint": "how weights lie in files, to refuse those that do not fit",
        "pipeline.imported": "refuses a checkpoint that does not fit, and keeps nothing of it",
        "pipeline.training.weights": "refuses weights that do not fit, and keeps nothing of them",
    },
    "train": {
        "pipeline.scoring.shown": "the sizes that an evaluation shows, to refuse a network early",
        "contexts": TRAINED,
        "pipeline.tracking.runs": "what MLflow is told",
        "pipeline.tracking.store": "where MLflow is",
    },
    "evaluate": {"contexts": TRAINED},
    "imported": {
        "contexts": "the published layouts have contexts of the paper's only",
    },
    "pictures": {"contexts": TRAINED},
}
NAMES = {  # what may be imported from a module without a dependency on it
    "ann.loss": {"IGNORE_INDEX": "255 in the label files of all datasets"},
    "pipeline.contact_sheet": {"SHEETS": "where they lie"},
    "pipeline.prepare": {"MANIFEST": "where it lies", "folder": "where the prepared data lie"},
}


def file_of(module: str) -> Path | None:
    """Return the module's file below the root, if it is one of ours."""
    path = Path(*module.split("."))
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((f for f in files if module.startswith(PACKAGES) and (ROOT / f).exists()), None)


def runtime(node: ast.AST) -> Iterator[ast.AST]:
    """Walk over a module, functions included, but not over what only a type checker sees."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from runtime(child)


@cache
def imports(file: Path) -> frozenset[str]:
    """Return the modules of ours that a file takes something from, but not for NAMES."""
    found: set[str] = set()
    for node in runtime(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.module
            assert not node.level, f"{file} imports relative to itself"
            for name in (alias.name for alias in node.names):
                module = f"{node.module}.{name}"
                if name not in NAMES.get(node.module, {}):
                    found.add(module if file_of(module) else node.module)
    return frozenset(module for module in found if file_of(module))


def closure(stage: str, module: str) -> set[Path]:
    """Return the files that shape the stage's output."""
    neutral = {f"pipeline.common.{name}" for name in COMMON.keys() - OWN.get(stage, set())}
    neutral |= NEUTRAL.get(stage, {}).keys()
    seen: set[str] = set()
    to_come = {module}
    while to_come:
        seen |= to_come
        to_come = {name for m in to_come for name in imports(file_of(m) or Path())}
        to_come -= seen | neutral
    return {file for m in seen if (file := file_of(m))}


def definition(stage: str) -> tuple[str, list[str]]:
    """Return the module that the stage runs, and the code that it depends on."""
    found = STAGES[stage].get("do", STAGES[stage])
    deps = [d for d in found["deps"] if d.split("/")[0] in PACKAGES]
    return found["cmd"].split()[2], deps


def missing(files: Iterable[Path], deps: Iterable[str]) -> list[str]:
    """Return the files that no dependency names, itself or by a folder."""
    roots = {Path(dep) for dep in deps}
    return sorted(f.as_posix() for f in files if not roots & {f, *f.parents})


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_that_shapes_its_output_and_on_no_other(stage: str) -> None:
    module, deps = definition(stage)
    files = closure(stage, module)
    assert missing(files, deps) == []
    for dep in deps:  # without any of them something would be missing
        assert missing(files, [d for d in deps if d != dep]), f"{stage} does not use {dep}"


def test_every_reason_is_needed() -> None:
    """A module that no stage imports any longer leaves the lists, too."""
    used = {name for file in ROOT.glob("pipeline/**/*.py") for name in imports(file)}
    used |= {"pipeline.common.warm"}  # by the package itself, which every stage imports
    assert {f"pipeline.common.{name}" for name in COMMON} <= used
    for stage, reasons in NEUTRAL.items():
        module, _ = definition(stage)
        own = {name for file in closure(stage, module) for name in imports(file)}
        assert own >= reasons.keys(), stage


def test_imports_in_functions_count_and_those_of_types_do_not(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "from ann import Sampler\n"
        "from pipeline.datasets import base\n"
        "from pipeline.prepare import MANIFEST\n"
        "if TYPE_CHECKING:\n    from pipeline import plan\n"
        "def late():\n    import pipeline.collect\n"
    )
    assert imports(file) == {"ann", "pipeline.datasets.base", "pipeline.collect"}
