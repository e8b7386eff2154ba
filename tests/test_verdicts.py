"""What the report says of the paper's claims, and where it says its figures are from."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from ann import BlockOptions
from pipeline import report
from pipeline.common import params
from pipeline.reporting import deviations, provenance, tables, verdicts
from pipeline.reporting.results import Failure, Result, Results
from tests.conftest import ROOT

SETTINGS = params.load(ROOT / "params.yaml")
PUBLISHED = yaml.safe_load((ROOT / "reports/published.yaml").read_text(encoding="utf-8"))


def results(**measured: list[float]) -> Results:
    return {
        name: [
            Result(name, seed, {"protocols": {"whole": {"miou": value / 100}}}, {})
            for seed, value in enumerate(measured.get(name, []))
        ]
        for name in SETTINGS.variants
    }


def test_each_verdict() -> None:
    measured = results(
        baseline=[45, 46, 47],
        nb=[65.0, 66.1, 66.9],  # above, as in the paper
        apnb=[25.0, 26.1, 26.9],  # below
        common=[49.2, 49.1, 48.4],  # above with each seed, and p is 0.07
        fnb=[60.0],
    )
    frame = tables.ablation(SETTINGS, measured, PUBLISHED).set_index("variant")
    found = frame["verdict"].to_dict()
    assert found["baseline"] == "reference"
    assert found["nb"] == "reproduced"
    assert found["apnb"] == "not reproduced"
    assert found["common"] == "within noise"
    assert {found[name] for name in ("fnb", "afnb", "ann")} == {"not measured"}
    told = verdicts.headline("ablation", frame)
    assert "Of the 8 differences" in told
    assert "1 is reproduced, 1 is within noise, 1 is not reproduced, 5 are not measured" in told
    assert "about 0.2" in told  # of the three that were judged, by chance
    assert "There is no interval" in verdicts.interval_note([0, 1])


def test_a_row_that_the_paper_does_not_have_is_not_comparable() -> None:
    own = SETTINGS.variants["apnb"].model_copy(update={"pool_sizes": [1, 2]})
    settings = SETTINGS.model_copy(update={"variants": {**SETTINGS.variants, "apnb": own}})
    measured = results(baseline=[45, 46, 47], apnb=[65.0, 66.1, 66.9])
    frame = tables.ablation(settings, measured, PUBLISHED).set_index("variant")
    assert frame.loc["apnb", "verdict"] == "not comparable"
    only = SETTINGS.model_copy(update={"tables": {"ablation": ["nb", "apnb"]}})
    frame = tables.ablation(only, measured, PUBLISHED)
    assert set(frame["verdict"]) == {"not comparable"}  # without the row to hold them against
    assert "no verdicts" in verdicts.rule(only, "ablation")
    assert "to baseline" not in tables.shown(frame)
    wide = SETTINGS.variants["baseline"].model_copy(update={"channels": 512})
    settings = SETTINGS.model_copy(update={"variants": {**SETTINGS.variants, "baseline": wide}})
    assert verdicts.reference(settings, "ablation") is None


def test_the_sampling_tables_claims_are_relative_to_the_papers_network() -> None:
    measured = results(ann=[68, 69, 70], random15=[66, 67.1, 67.9], average14812=[66, 67.1, 67.9])
    frame = tables.sampling(SETTINGS, measured, PUBLISHED).set_index("variant")
    found = frame["verdict"]
    assert found[["ann", "random15", "average14812"]].tolist() == [
        "reference",
        "reproduced",  # the paper has it lower, too
        "not reproduced",  # the paper has it higher
    ]
    assert frame.loc["average14812", "published_difference"] == pytest.approx(0.2)
    order = tables.rank(SETTINGS, "sampling", frame.reset_index(), measured)
    assert order == pytest.approx((0, 0, 0))  # of three rows one pair each way, and a tie


def test_a_failed_run_is_told_beside_its_row() -> None:
    measured = results(baseline=[45, 46])
    frame = tables.ablation(SETTINGS, measured, PUBLISHED, [Failure("baseline", 2, "train", "x")])
    assert tables.shown(frame)["seeds"][0] == "2 (0 1), 1 failed"


def renders(folder: Path) -> dict[str, bytes]:
    """What the report stage wrote."""
    made = [*folder.glob("reports/tables/*"), *folder.glob("reports/*.*")]
    return {str(f.relative_to(folder)): f.read_bytes() for f in made}


def bare(folder: Path, *lines: dict[str, Any]) -> Path:
    """What git has of the results and settings, and nothing else; lines come on top."""
    shutil.copytree(ROOT / "reports/efficiency", folder / "reports/efficiency")
    for name in ("params.yaml", *(f"reports/{n}" for n in report_files())):
        shutil.copy(ROOT / name, folder / name)
    with (folder / "reports/results.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return folder


def report_files() -> list[str]:
    return ["results.jsonl", "published.yaml", "networks.json"]


def test_a_report_is_the_same_twice_without_data_or_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = bare(tmp_path / "a"), bare(tmp_path / "b")
    monkeypatch.chdir(first)
    report.main()
    other = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-m", "pipeline.report"]
    subprocess.run(command, cwd=second, env=other, check=True, capture_output=True)
    made = renders(first)
    assert made == renders(second)
    origins = json.loads(made["reports/tables/provenance.json"])
    recorded = {
        json.loads(line)["record"]["code"]["commit"]
        for line in (ROOT / "reports/results.jsonl").read_text(encoding="utf-8").splitlines()
    }
    assert set(origins["ablation"]["commits"]) == recorded
    for name in ("ablation", "sampling_pairs", "networks"):
        for suffix in ("md", "tex"):
            assert b"Provenance: commit " in made[f"reports/tables/{name}.{suffix}"]
    assert b"Failed runs" not in made["reports/README.md"]


def test_failed_runs_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "the loss is nan\nat iteration 7 | lr 0.1"
    failed = {"failed": "ann", "seed": 9, "stage": "train", "reason": reason}
    monkeypatch.chdir(bare(tmp_path, failed))
    report.main()
    page = Path("reports/README.md").read_text(encoding="utf-8")
    assert "## Failed runs" in page
    assert r"the loss is nan at iteration 7 \| lr 0.1" in page
    frame = pd.read_csv("reports/tables/ablation.csv").set_index("variant")
    assert frame["failed"].to_dict() == {n: int(n == "ann") for n in frame.index}


def test_provenance_is_of_the_records() -> None:
    def record(seed: int, **changes: Any) -> dict[str, Any]:
        environment = {"device": "cpu", "cpu": "Chip", "cores": 2, "system": "Linux x86_64"}
        environment |= {"python": "3.11.7", "libraries": {"torch": "2.15.0"}, "lock": "f" * 64}
        made = {"variant": "ann", "seed": seed, "fingerprint": f"{seed}" * 16}
        made |= {"code": {"commit": "a" * 40, "dirty": False}, "environment": environment}
        made |= {"dataset": {"digest": "d" * 64}, "speed": {"seconds": 1800}, "config": {"x": 1}}
        return made | changes

    two = provenance.origin([record(0), record(1)])
    line = provenance.line(two, runs=True)
    assert line == (
        "Provenance: commit aaaaaaaaaa (clean); settings " + two["settings"] + "; data dddddddddddd"
        "; lock file ffffffffffff; Chip, 2 cores, Linux x86_64; Python 3.11.7, torch 2.15.0; 1.00 "
        "hours of training; 2 runs: ann-0-00000000, ann-1-11111111."
    )
    environment = {**record(0)["environment"], "device": "GPU"}
    del environment["lock"]  # as in records of an earlier version
    other = record(1, code={"commit": "b" * 40, "dirty": True}, environment=environment)
    mixed = provenance.line(provenance.origin([record(0), other]))
    assert "commit aaaaaaaaaa and bbbbbbbbbb (with changes)" in mixed
    assert "lock file ffffffffffff and not recorded" in mixed
    assert "Chip, 2 cores, Linux x86_64 and GPU, Linux x86_64" in mixed
    unknown = provenance.origin([record(0, code={"commit": None, "dirty": None})])
    assert "commit unknown (clean or not: unknown)" in provenance.line(unknown)
    changed = provenance.origin([record(0), record(1, config={"x": 2})])
    assert changed["settings"] != two["settings"]


def test_deviations_are_read_from_the_settings() -> None:
    def table(settings: params.Params) -> pd.DataFrame:
        return deviations.table(settings, PUBLISHED).set_index("switch")

    frame = table(SETTINGS)
    assert not (frame["here"] == deviations.UNSAID).any()  # every switch is a key of params.yaml
    own = {f"`network.options.{name}`" for name in BlockOptions.__dataclass_fields__}
    assert own <= set(frame.index)
    scale = "`network.options.scale`"
    assert frame.loc[scale, ["here", "as"]].tolist() == ["true", "code"]
    variant = SETTINGS.variants["nb"].model_copy(update={"options": params.OwnOptions(scale=False)})
    changed = SETTINGS.model_copy(
        update={
            "profile": "cityscapes",
            "dataset_dir": "/data",
            "variants": {**SETTINGS.variants, "nb": variant},
        }
    )
    real = table(changed)
    assert real.loc[scale, ["here", "as"]].tolist() == ["true; nb: false", "code"]
    assert real.loc["`train.loss.ohem`", "as"] == "code"
    recipe = ["crop", "iterations", "batch size, over all processes", "optimiser", "learning rate"]
    assert set(real.set_index("about").loc[recipe, "as"]) == {"code"}
    assert set(frame.set_index("about").loc[recipe, "as"]) == {"not the code's"}
