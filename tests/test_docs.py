"""The pages of docs/, followed literally: their files and diffs, then their commands.

The settings are reduced after each page's changes to params.yaml, so that the commands take
seconds; the next page starts from the shipped ones.
"""

import json
import re
import shlex
from typing import Any

import pandas as pd
import pytest

from pipeline.engine import yaml_file
from tests.conftest import ROOT, Clone, copy_tracked, small, write_claims
from tests.test_profiles import shrink

_FILE = re.compile(r"^`([\w./]+)`\n\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with the shipped settings."""
    made = copy_tracked(tmp_path_factory.mktemp("docs"))
    made.commit()
    return made


def change(clone: Clone, page: str) -> None:
    """Every file of the page written, every diff applied to the shipped files."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = _FILE.findall(text)
    assert len(found) == len(re.findall(r"^```(?!sh)\w+$", text, re.MULTILINE))
    for name, kind, content in found:
        file = clone.path / name
        if kind == "diff":
            patch = clone.path.parent / "page.diff"
            patch.write_text(content, encoding="utf-8")
            assert f"+++ b/{name}\n" in content
            clone.run("git", "apply", str(patch))
        else:
            assert not file.exists()
            file.write_text(content, encoding="utf-8")


def reduce(clone: Clone) -> set[str]:
    """Small settings with the baseline and the page's own variants, whose names are returned."""
    shipped = yaml_file.read_yaml(ROOT / "params.yaml")
    settings: dict[str, Any] = yaml_file.read_yaml(clone.path / "params.yaml")
    new = {k: v for k, v in settings["variants"].items() if k not in shipped["variants"]}
    tables = settings["tables"]
    own = [name for name in settings["profiles"] if name not in shipped["profiles"]]
    profile = own[0] if own else "embedded"
    if own:
        shrink(settings["profiles"][profile])
    settings = small(settings)
    settings["variants"] = {"baseline": settings["variants"]["baseline"], **new}
    rows = {k: [row for row in v if row in settings["variants"]] for k, v in tables.items()}
    settings["tables"] = {name: left for name, left in rows.items() if left}
    settings["rows"] = ["baseline"]
    for each in settings["profiles"].values():
        each["tables"] = list(settings["tables"])
    kept = {"embedded", "camvid", profile}
    settings["profiles"] = {k: v for k, v in settings["profiles"].items() if k in kept}
    settings["networks"]["profile"] = profile
    yaml_file.write_yaml(clone.path / "params.yaml", settings)
    write_claims(clone.path, settings["variants"])
    return set(new)


def follow(clone: Clone, page: str) -> str:
    """Run the page's commands; returns what they printed."""
    (commands,) = _COMMANDS.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
    return "".join(clone.run(*shlex.split(line)) for line in commands.splitlines())


def row(clone: Clone, table: str, variant: str) -> pd.Series:
    """The row of a table, and that its score is the one that was measured."""
    profile = yaml_file.read_yaml(clone.path / "params.yaml")["profile"]
    found = pd.read_csv(clone.path / f"reports/{profile}/tables/{table}.csv").set_index("variant")
    scores = json.loads(
        (clone.path / f"runs/{profile}/{variant}-0/scores.json").read_text(encoding="utf-8")
    )
    assert found.loc[variant, "n"] == 1
    assert abs(found.loc[variant, "miou"] - 100 * scores["protocols"]["whole"]["miou"]) < 1e-3
    return found.loc[variant]


def start(clone: Clone, page: str) -> set[str]:
    clone.run("git", "checkout", "--", "params.yaml")
    change(clone, page)
    return reduce(clone)


@pytest.mark.slow
def test_adding_a_block(fresh: Clone) -> None:
    assert start(fresh, "adding-a-block.md") == {"image_average"}
    follow(fresh, "adding-a-block.md")
    found = row(fresh, "beyond", "image_average")
    assert found["model"] == "+ image average"
    assert found["paper"] == "Liu et al., 2015, arXiv 1506.04579"
    assert 10_000 < found["block_parameters"] < 12_000
    assert found["gflops"] > 0
    assert found["step_ms"] > 0
    file = fresh.path / "contexts/ppm.py"
    file.write_text(file.read_text(encoding="utf-8") + "\nOTHER = 1\n", encoding="utf-8")
    told = fresh.run("dvc", "repro", "train@image_average-0")
    assert "Running stage 'check'" in told
    assert "Running stage 'train@image_average-0'" not in told
    file = fresh.path / "contexts/image_average.py"
    file.write_text(file.read_text(encoding="utf-8") + "\nOWN = 1\n", encoding="utf-8")
    told = fresh.run("dvc", "repro", "train@image_average-0")
    assert "Running stage 'train@image_average-0'" in told


@pytest.mark.slow
def test_adding_a_sampler(fresh: Clone) -> None:
    assert start(fresh, "adding-a-sampler.md") == {"centre1236"}
    follow(fresh, "adding-a-sampler.md")
    found = row(fresh, "sampling", "centre1236")
    assert found["sampling"] == "pyramid centre"
    assert found["anchors"] == 50
    assert pd.isna(found["published"])


@pytest.mark.slow
def test_adding_a_dataset(fresh: Clone) -> None:
    assert start(fresh, "adding-a-dataset.md") == set()
    told = follow(fresh, "adding-a-dataset.md")
    assert "shapes val: 4 of the published 4 images" in told
    assert (fresh.path / "data/contact-sheet/shapes.png").exists()
    row(fresh, "ablation", "baseline")
    scores = json.loads(
        (fresh.path / "runs/shapes/baseline-0/scores.json").read_text(encoding="utf-8")
    )
    assert list(scores["protocols"]["whole"]["class_iou"]) == ["ground", "square", "disc"]
