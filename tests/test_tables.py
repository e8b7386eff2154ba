"""What the tables say beside the scores, and where the report says its figures are from."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ann import BlockOptions
from pipeline.reporting import outliers, provenance
from pipeline.reporting.results import Results
from pipeline.reporting.tables import deviations, paper, rows
from pipeline.settings import options, params, records, schema
from pipeline.stages import report
from tests import recorded
from tests.conftest import ROOT
from tests.reporting import PUBLISHED, make_inputs

SETTINGS = params.load(ROOT / "params.yaml")


def results(**measured: list[float]) -> Results:
    return {
        name: [
            recorded.run(name, seed, value / 100)
            for seed, value in enumerate(measured.get(name, []))
        ]
        for name in SETTINGS.variants
    }


def test_a_row_that_the_paper_does_not_have_has_no_figure() -> None:
    own = SETTINGS.variants["apnb"].model_copy(update={"pool_sizes": [1, 2]})
    settings = SETTINGS.model_copy(update={"variants": {**SETTINGS.variants, "apnb": own}})
    measured = results(baseline=[45, 46, 47], apnb=[65.0, 66.1, 66.9])
    frame = paper.build_ablation(make_inputs(settings, measured)).set_index("variant")
    assert pd.isna(frame.loc["apnb", "published"])
    only = SETTINGS.model_copy(update={"tables": {"ablation": ["nb", "apnb"]}})
    table = paper.build_table(make_inputs(only, measured), "ablation")
    assert "to baseline" not in table.format_cells()


def test_every_table_has_its_reference() -> None:
    found = {table: rows.find_reference(SETTINGS, table) for table in SETTINGS.tables}
    assert found == {
        "ablation": "baseline",
        "sampling": "ann",
        "beyond": "apnb",
        "remedies": "afnb",
    }
    wide = SETTINGS.variants["baseline"].model_copy(update={"channels": 512})
    settings = SETTINGS.model_copy(update={"variants": {**SETTINGS.variants, "baseline": wide}})
    assert rows.find_reference(settings, "ablation") is None


def test_the_sampling_table_compares_with_the_papers_network() -> None:
    measured = results(ann=[68, 69, 70], random15=[66, 67.1, 67.9], average14812=[66, 67.1, 67.9])
    frame = paper.build_sampling(make_inputs(SETTINGS, measured))
    assert set(frame["reference"]) == {"ann"}
    published = frame.set_index("variant")["published_difference"]
    assert published["average14812"] == pytest.approx(0.2)
    assert paper.rank_rows(frame) == pytest.approx(0)  # of three rows one pair each way, and a tie
    assert "0.00" in paper.describe_order(0.0)
    assert "Too few rows" in paper.describe_order(math.nan)


def test_a_run_that_fell_is_listed_with_what_it_lost() -> None:
    seen = {"road": 0.9, "bus": 0.8, "train": None}
    runs = [recorded.run("ann", seed, 0.66, **{"scores.protocols": by(seen)}) for seed in range(3)]
    fallen = recorded.scores("whole", miou=0.6, class_iou=seen | {"bus": 0.1})
    runs.append(recorded.run("ann", 3, 0, **{"scores.protocols": fallen.as_json()["protocols"]}))
    section = outliers.build_section(make_inputs(SETTINGS, {"ann": runs}))
    assert section is not None
    assert section.table is not None
    cells = section.table.format_cells()
    assert cells.to_numpy().tolist() == [["ann-3", "60.0", "66.0", "bus (10 of 80)"]]
    assert outliers.build_section(make_inputs(SETTINGS, {"ann": runs[:3]})) is None


def by(class_iou: dict[str, float | None]) -> Any:
    return recorded.scores("whole", miou=0.66, class_iou=class_iou).as_json()["protocols"]


def test_a_failed_run_is_told_beside_its_row() -> None:
    measured = results(baseline=[45, 46])
    inputs = make_inputs(SETTINGS, measured, failures=(recorded.failure("baseline", 2),))
    assert paper.build_table(inputs, "ablation").format_cells()["seeds"][0] == "2 (0 1), 1 failed"


def renders(folder: Path) -> dict[str, bytes]:
    """What the report stage wrote."""
    made = [*folder.glob("reports/embedded/tables/*"), *folder.glob("reports/embedded/*.*")]
    return {str(f.relative_to(folder)): f.read_bytes() for f in made}


def bare(folder: Path, *lines: dict[str, Any]) -> Path:
    """What git has of the results and settings, and nothing else; lines come on top."""
    shutil.copytree(ROOT / "reports/efficiency", folder / "reports/efficiency")
    for name in ("params.yaml", *(f"reports/{n}" for n in report_files())):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    with (folder / "reports/results/embedded.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return folder


def report_files() -> list[str]:
    return ["results/embedded.jsonl", "published.yaml", "embedded/networks.json", "claims.yaml"]


def test_a_report_is_the_same_twice_without_data_or_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = bare(tmp_path / "a"), bare(tmp_path / "b")
    monkeypatch.chdir(first)
    report.main()
    other = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-m", "pipeline", "report"]
    subprocess.run(command, cwd=second, env=other, check=True, capture_output=True)
    made = renders(first)
    assert made == renders(second)
    origins = json.loads(made["reports/embedded/tables/provenance.json"])
    commits = {
        json.loads(line)["record"]["code"]["commit"]
        for line in recorded.RESULTS.read_text(encoding="utf-8").splitlines()
    }
    assert set(origins["ablation"]["commits"]) == commits
    for name in ("ablation", "sampling_pairs", "networks"):
        for suffix in ("md", "tex"):
            assert b"Provenance: commit " in made[f"reports/embedded/tables/{name}.{suffix}"]
    assert (
        b"Failed runs"
        not in made["reports/embedded/README.md"] + made["reports/embedded/index.html"]
    )


def test_failed_runs_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "the loss is nan\nat iteration 7 | lr 0.1"
    failed = recorded.failure("ann", 9, reason).as_json()
    monkeypatch.chdir(bare(tmp_path, failed))
    report.main()
    summary = Path("reports/embedded/README.md").read_text(encoding="utf-8")
    assert "are measured, 1 failed" in summary
    assert "[Failed runs](index.html#failed)" in summary
    page = Path("reports/embedded/index.html").read_text(encoding="utf-8")
    assert '<section id="failed"' in page
    assert "the loss is nan at iteration 7 | lr 0.1" in page
    frame = pd.read_csv("reports/embedded/tables/ablation.csv").set_index("variant")
    assert frame["failed"].to_dict() == {n: int(n == "ann") for n in frame.index}


def test_provenance_is_of_the_records() -> None:
    def record(seed: int, **changes: Any) -> records.RunRecord:
        environment = {"device": "cpu", "cpu": "Chip", "cores": 2, "system": "Linux x86_64"}
        environment |= {"python": "3.11.7", "libraries": {"torch": "2.15.0"}, "lock": "f" * 64}
        known = {"variant": "ann", "seed": seed, "fingerprint": f"{seed}" * 16}
        known |= {f"environment.{key}": value for key, value in environment.items()}
        known |= {"code.commit": "a" * 40, "code.dirty": False, "dataset.digest": "d" * 64}
        return recorded.changed(recorded.RECORD, known | {"speed.seconds": 1800} | changes)

    two = provenance.find_origin([record(0), record(1)])
    line = provenance.describe_origin(two, runs=True)
    assert line == (
        "Provenance: commit aaaaaaaaaa (clean); settings " + two["settings"] + "; data dddddddddddd"
        "; lock file ffffffffffff; Chip, 2 cores, Linux x86_64; Python 3.11.7, torch 2.15.0; 1.00 "
        "hours of training; 2 runs: ann-0-00000000, ann-1-11111111."
    )
    gpu = {"environment.device": "GPU", "environment.lock": None}
    other = record(1, **{"code.commit": "b" * 40, "code.dirty": True}, **gpu)
    mixed = provenance.describe_origin(provenance.find_origin([record(0), other]))
    assert "commit aaaaaaaaaa and bbbbbbbbbb (with changes)" in mixed
    assert "lock file ffffffffffff and not recorded" in mixed
    assert "Chip, 2 cores, Linux x86_64 and GPU, Linux x86_64" in mixed
    unknown = provenance.find_origin([record(0, **{"code.commit": None, "code.dirty": None})])
    assert "commit unknown (clean or not: unknown)" in provenance.describe_origin(unknown)
    changed = provenance.find_origin([record(0), record(1, **{"config.train.power": 2})])
    assert changed["settings"] != two["settings"]


def test_deviations_are_read_from_the_settings() -> None:
    def table(settings: schema.Params) -> pd.DataFrame:
        return deviations.build_frame(settings, PUBLISHED).set_index("switch")

    frame = table(SETTINGS)
    assert not (frame["here"] == deviations.UNKNOWN).any()  # every switch is a key of params.yaml
    own = {f"`network.options.{name}`" for name in BlockOptions.__dataclass_fields__}
    assert own <= set(frame.index)
    scale = "`network.options.scale`"
    assert frame.loc[scale, ["here", "as"]].tolist() == ["true", "code"]
    variant = SETTINGS.variants["nb"].model_copy(
        update={"options": options.OwnOptions(scale=False)}
    )
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
