"""The real commands in a temporary clone: what runs, what does not run again, what is refused.

The tests share one clone and build on each other, in their order.
"""

import hashlib
import json
import os
import re
from itertools import pairwise
from pathlib import Path
from shutil import copytree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.engine import yaml_file
from pipeline.stages.collect import thin_curve
from tests.conftest import ROOT, VARIANTS, Clone
from tests.trees import camvid


def stages_run(told: str) -> set[str]:
    return set(re.findall(r"Running stage '([^']+)'", told))


def select_runs(stages: set[str]) -> set[str]:
    """Return the stages of runs."""
    return {name for name in stages if name.startswith(("train@", "evaluate@"))}


def test_every_variant_and_seed_is_a_stage() -> None:
    """A list of dictionaries in the matrix would give the stages names that say nothing."""
    settings = yaml_file.read_yaml(ROOT / "params.yaml")
    told = Clone(ROOT).run("dvc", "stage", "list", "--name-only").split()
    runs = [f"{v}-{s}" for v in settings["rows"] for s in settings["seeds"]]
    expected = ["check", "plan", "scene", "prepare", "contact_sheet", "track", "collect", "report"]
    expected += ["features", "efficiency", "networks@embedded", "figures", "pictures", "index"]
    expected += [f"{stage}@{run}" for stage in ("train", "evaluate") for run in runs]
    assert sorted(told) == sorted(expected)


def test_one_command_makes_everything(clone: Clone) -> None:
    told = clone.run("python", "-m", "pipeline", "repro", "--jobs", "2")
    assert told.startswith("# Plan: profile `embedded`")
    assert "3 of 3 runs will be trained" in told
    assert "report: reports/embedded/index.html" in told
    assert "the paper's claims: " in told
    assert "INFO" not in told  # no library's log lines
    table = pd.read_csv(clone.path / "reports/embedded/tables/ablation.csv")
    assert table["variant"].tolist() == list(VARIANTS)
    assert table["n"].tolist() == [1] * 3
    for name, miou in zip(table["variant"], table["miou"], strict=True):
        scores = json.loads(
            (clone.path / f"runs/embedded/{name}-0/scores.json").read_text(encoding="utf-8")
        )
        assert abs(100 * scores["protocols"]["whole"]["miou"] - miou) < 1e-3
        assert scores["images"] == 4
    lines = (clone.path / "reports/results/embedded.jsonl").read_text(encoding="utf-8").splitlines()
    for line in map(json.loads, lines):
        weights = (clone.path / f"weights/embedded/{line['variant']}-0.safetensors").read_bytes()
        assert line["record"]["weights_sha256"] == hashlib.sha256(weights).hexdigest()
        lock = (clone.path / "requirements.lock").read_bytes()
        assert line["record"]["environment"]["lock"] == hashlib.sha256(lock).hexdigest()
    losses = pd.read_csv(clone.path / "reports/embedded/curves.csv", dtype=str)
    for name, rows in losses.groupby("variant"):
        curve = pd.read_csv(clone.path / f"runs/embedded/{name}-0/curve.csv", dtype=str)
        assert rows["loss"].tolist() == curve["loss"].tolist()  # to the last digit
    assert losses["iteration"].tolist() == [str(i + 1) for i in range(6)] * 3
    page = (clone.path / "reports/embedded/README.md").read_text(encoding="utf-8")
    assert "not comparable with the paper's" in page
    assert "75.8†" in page
    latex = (clone.path / "reports/embedded/tables/ablation.tex").read_text(encoding="utf-8")
    assert r"75.8$^\dagger$" in latex
    costs = pd.read_csv(clone.path / "reports/embedded/tables/efficiency.csv")
    assert costs["block"].unique().tolist() == ["nb", "apnb", "fnb", "afnb"]
    assert (costs["fwd_ms"] > 0).all()
    assert (costs["fwd+bwd_ms"] > 0).all()
    networks = pd.read_csv(clone.path / "reports/embedded/tables/networks.csv").set_index("variant")
    assert (networks["parameters"].diff().iloc[1:] > 0).all()
    assert (networks["trained_to_predicted"] > 0).all()
    for figure in ("operation-times", "cost-against-positions"):
        assert "APNB, " in (clone.path / f"reports/embedded/figures/{figure}.svg").read_text(
            encoding="utf-8"
        )
    plan = (clone.path / "reports/plan.md").read_text(encoding="utf-8")
    assert re.search(r"\| embedded +\| 3 +\| 3 ", plan)
    comparison = pd.read_csv(clone.path / "reports/tables/cityscapes.csv").set_index("method")
    assert comparison.loc["ann", "n"] == 0  # the drawn scenes are not Cityscapes
    by_class = pd.read_csv(clone.path / "reports/embedded/tables/cityscapes_classes.csv").set_index(
        "class"
    )
    miou = table.set_index("variant").loc["ann", "miou"]
    assert abs(by_class.loc["mean", "ann"] - miou) < 1e-3
    assert clone.run("dvc", "status").strip() == "Data and pipelines are up to date."


def test_what_git_keeps_renders_the_reports_without_data_or_weights(
    clone: Clone, tmp_path: Path
) -> None:
    left_out = {"data", "runs", "weights", "mlflow.db"}
    bare = Clone(
        copytree(
            clone.path,
            tmp_path / "bare",
            ignore=lambda folder, names: left_out if folder == str(clone.path) else {"cache"},
        )
    )
    before = {f: f.read_bytes() for f in bare.path.rglob("reports/**/*") if f.is_file()}
    code = bare.path / "pipeline/reporting/page/html.py"
    code.write_text(f"{code.read_text(encoding='utf-8')}\nMORE = 1\n", encoding="utf-8")
    told = bare.run("dvc", "repro", "--allow-missing")
    assert stages_run(told) == {"check", "report", "index"}
    assert {f: f.read_bytes() for f in before} == before


def test_a_second_time_does_nothing(clone: Clone) -> None:
    before = {f: f.stat().st_mtime_ns for f in clone.path.rglob("reports/**/*")}
    told = clone.run("python", "-m", "pipeline", "repro")
    assert "Everything is up to date" in told
    assert "will be trained" not in told
    assert "repro: " not in told  # there is nothing to wait for
    assert stages_run(clone.run("dvc", "repro")) == set()
    assert {f: f.stat().st_mtime_ns for f in clone.path.rglob("reports/**/*")} == before


@pytest.mark.parametrize(("count", "kept"), [(6, 6), (100, 100), (101, 51), (320, 80)])
def test_curves_are_thinned_evenly_and_end_with_the_last_row(
    count: int, kept: int, tmp_path: Path
) -> None:
    curve = tmp_path / "curve.csv"
    rows = [f"{i + 1},0.1,{1 / (i + 1)!r}" for i in range(count)]
    curve.write_text("\n".join(["iteration,lr,loss", *rows]), encoding="utf-8")
    found = list(thin_curve(curve))
    assert len(found) == kept
    assert found[-1] == (count, repr(1 / count))
    assert len({b[0] - a[0] for a, b in pairwise(found[:-1])}) == 1


def mlflow_runs(clone: Clone) -> pd.DataFrame:
    script = (
        "import mlflow; mlflow.set_tracking_uri('sqlite:///mlflow.db');"
        "runs = mlflow.search_runs(experiment_names=['ann-embedded']);"
        "runs.to_json('runs.json', orient='records')"
    )
    clone.run("python", "-c", script)
    return pd.DataFrame(json.loads((clone.path / "runs.json").read_text(encoding="utf-8")))


def test_mlflow_shows_parents_and_children_and_survives_its_loss(clone: Clone) -> None:
    for lost in (False, True):
        if lost:
            (clone.path / "mlflow.db").unlink()
            clone.run("python", "-m", "pipeline", "track")
        clone.run("python", "-m", "pipeline", "track")  # again: nothing may be there twice
        runs = mlflow_runs(clone)
        children = runs[runs["tags.mlflow.parentRunId"].notna()]
        parents = runs[runs["tags.mlflow.parentRunId"].isna()]
        assert sorted(parents["tags.variant"]) == sorted(VARIANTS)
        for _, parent in parents.iterrows():
            told = children.set_index("tags.variant").loc[parent["tags.variant"]]
            assert parent["metrics.miou"] == told["metrics.miou"]  # of one seed, the mean
            assert parent["metrics.loss"] == told["metrics.loss"]
            shown = f"{parent['tags.variant']}: {100 * told['metrics.miou']:.1f}"
            assert parent["tags.mlflow.runName"] == shown
            folder = clone.path / f"mlartifacts/{parent['run_id']}/artifacts"
            assert (folder / "index.html").exists()
        assert sorted(children["tags.variant"]) == sorted(VARIANTS)
        assert set(children["tags.mlflow.parentRunId"]) == set(parents["run_id"])
        for _, run in children.iterrows():
            scores = clone.path / f"runs/embedded/{run['tags.variant']}-0/scores.json"
            told = json.loads(scores.read_text(encoding="utf-8"))["protocols"]["whole"]
            assert abs(run["metrics.miou"] - told["miou"]) < 1e-9
            assert run["params.train.iterations"] == "6"
            assert run["tags.dvc.stage"] == f"train@{run['tags.variant']}-0"
            assert len(run["tags.git.commit"]) == 40
            assert run["metrics.lr"] > 0
            folder = clone.path / f"mlartifacts/{run['run_id']}/artifacts"
            names = {"class_iou.json", "curve.csv", "predictions.webp", "record.json"}
            assert {f.name for f in folder.iterdir()} == names | {"scores.json"}


def test_pool_sizes_rerun_their_variant_and_the_tables_only(clone: Clone) -> None:
    own = {"train@apnb-0", "evaluate@apnb-0", "track", "collect"}
    own |= {"figures", "pictures", "report", "index"}
    clone.edit("- 8\n  ann:", "- 7\n  ann:")
    assert clone.repro() - {"check", "plan", "networks@embedded"} == own
    page = pd.read_csv(clone.path / "reports/embedded/tables/ablation.csv").set_index("variant")
    assert pd.isna(page.loc["apnb", "published"])  # the paper has no such row

    clone.edit("- 7\n  ann:", "- 8\n  ann:")
    told = clone.run("dvc", "repro", "evaluate@apnb-0")
    assert stages_run(told) <= {"check"}
    assert "Stage 'train@apnb-0' is cached" in told  # restored, not trained
    assert not select_runs(clone.repro())
    assert clone.run("dvc", "status").strip() == "Data and pipelines are up to date."


def test_repro_takes_what_dvc_has_cached(clone: Clone) -> None:
    weights = clone.path / "weights/embedded/apnb-0.safetensors"
    before = weights.read_bytes()
    clone.edit("- 8\n  ann:", "- 5\n  ann:")
    assert select_runs(clone.repro()) == {"train@apnb-0", "evaluate@apnb-0"}
    assert weights.read_bytes() != before
    clone.edit("- 5\n  ann:", "- 8\n  ann:")
    assert not select_runs(clone.repro())
    assert weights.read_bytes() == before
    assert clone.run("dvc", "status").strip() == "Data and pipelines are up to date."


def test_a_seed_a_variant_and_a_table_only_add(clone: Clone) -> None:
    def stale() -> set[str]:
        clone.run("dvc", "repro", "check")
        return set(json.loads(clone.run("dvc", "status", "--json")))

    clone.edit("seeds:\n- 0", "seeds:\n- 0\n- 1")
    assert select_runs(stale()) == {
        f"{stage}@{v}-1" for stage in ("train", "evaluate") for v in VARIANTS
    }
    clone.edit("seeds:\n- 0\n- 1", "seeds:\n- 0")
    clone.edit("\nvariants:\n", "\nvariants:\n  nb: {fusion: none, context: nb}\n")
    clone.edit("rows:\n- baseline", "rows:\n- nb\n- baseline")
    assert select_runs(stale()) == {"train@nb-0", "evaluate@nb-0"}
    clone.edit("  nb: {fusion: none, context: nb}\n", "")
    clone.edit("rows:\n- nb\n", "rows:\n")
    clone.edit("checkpoints: {}", "checkpoints: {released: {file: x.pth, layout: authors}}")
    assert "imported@released" in clone.run("dvc", "stage", "list", "--name-only").split()
    clone.edit("checkpoints: {released: {file: x.pth, layout: authors}}", "checkpoints: {}")
    clone.edit("  sampling:\n  - ann\n", "  sampling:\n  - ann\n  - apnb\n")
    drawn = {"check", "plan", "collect", "figures", "report", "index", "track"}
    assert clone.repro() <= drawn


def test_an_experiment_by_dvc(clone: Clone) -> None:
    clone.run("git", "add", "--all")
    clone.run("git", "commit", "--quiet", "--message", "results")
    told = clone.run("dvc", "exp", "run", "--set-param", "variants.apnb.pool_sizes=[1,5]")
    assert "train@apnb-0" in stages_run(told)
    assert "train@ann-0" not in stages_run(told)
    shown = clone.run("dvc", "exp", "show", "--csv", "--no-pager")
    rows = shown.splitlines()
    assert "miou.apnb" in rows[0]
    assert any("[1, 5]" in row for row in rows[2:])
    shown = json.loads(clone.run("dvc", "plots", "show", "--json"))["data"]
    assert set(shown) == {"ablation", "sampling", "curves"}
    assert all(VARIANTS[2] in json.dumps(plot) for plot in shown.values())


def test_mistakes_are_one_sentence_before_any_work(clone: Clone, tmp_path: Path) -> None:
    kept = (clone.path / "params.yaml").read_text(encoding="utf-8")
    before = {f: f.stat().st_mtime_ns for f in clone.path.rglob("runs/**/*")}
    for old, new, sentence in (
        ("profile: embedded", "profile: nowhere", "profile must be one of embedded"),
        ("iterations: 6\n", "iterations: six\n", "iterations must be a valid"),
        (
            "dataset_dir: data/embedded",
            "dataset_dir: /no/where",
            "run `python -m pipeline use embedded`",
        ),
    ):
        clone.edit(old, new)
        for command in (("dvc", "repro"), ("python", "-m", "pipeline", "repro")):
            told = clone.run(*command, ok=False)
            assert sentence in told, told
            assert "Traceback" not in told
        (clone.path / "params.yaml").write_text(kept, encoding="utf-8")
    assert {f: f.stat().st_mtime_ns for f in clone.path.rglob("runs/**/*")} == before
    told = clone.run("python", "-m", "pipeline", "train", "apnb", "9", ok=False)
    assert told.splitlines()[-1] == "error: seed must be one of 0, got 9"


def test_runs_that_fail_are_told(clone: Clone) -> None:
    kept = (clone.path / "params.yaml").read_text(encoding="utf-8")
    clone.edit("lr: 0.003", "lr: 1.0e+30")
    told = clone.run("python", "-m", "pipeline", "repro", ok=False)
    for variant in VARIANTS:
        assert f"train@{variant}-0: {variant}-0: the loss is" in told
    assert told.splitlines()[-1].startswith("error: 3 stages failed, see logs; ")
    assert "Traceback" not in told
    logs = "".join(f.read_text(encoding="utf-8") for f in clone.path.glob("logs/*.log"))
    assert "the loss is" in logs
    assert "Traceback" not in logs
    results = clone.path / "reports/results/embedded.jsonl"
    failed = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert [(f["variant"], f["seed"], f["stage"]) for f in failed] == [
        (v, 0, "train") for v in VARIANTS
    ]
    for failure in failed:
        assert re.search(
            r"is .* at iteration \d+, learning rate .*, with the images [a-z]", failure["reason"]
        )
    table = pd.read_csv(clone.path / "reports/embedded/tables/ablation.csv")
    assert table["n"].tolist() == [0] * 3
    (clone.path / "params.yaml").write_text(kept, encoding="utf-8")
    clone.run("python", "-m", "pipeline", "collect")
    assert "failure" not in results.read_text(encoding="utf-8")  # with these settings nothing did


def test_switching_between_experiments_loses_nothing_and_trains_nothing_twice(
    clone: Clone, tmp_path: Path
) -> None:
    folder = camvid(tmp_path / "camvid")
    file = clone.path / "params.yaml"
    settings = yaml_file.read_yaml(file)
    settings["data"]["camvid"] = os.fspath(folder)
    train = settings["profiles"]["camvid"]["train"]
    train |= {"iterations": 4, "warmup": 1, "batch_size": 2}
    train["augment"]["crop"] = [64, 64]
    yaml_file.write_yaml(file, settings)
    runs = {f"train@{name}-0" for name in VARIANTS}

    def switch(profile: str) -> set[str]:
        clone.run("python", "-m", "pipeline", "use", profile)
        ran = clone.repro("--jobs", "2")
        assert "up to date" in clone.run("dvc", "status")
        return ran

    switch("embedded")
    embedded = read_folder(clone.path / "reports/embedded")
    assert runs <= switch("camvid")
    assert read_folder(clone.path / "reports/embedded") == embedded
    own = read_folder(clone.path / "reports/camvid")
    summary = (clone.path / "reports/README.md").read_text(encoding="utf-8")
    assert "[camvid](camvid/index.html)" in summary
    assert "[embedded](embedded/index.html)" in summary
    for profile in ("embedded", "camvid"):  # there and back
        assert not {name for name in switch(profile) if name.startswith(("train", "evaluate"))}
    assert read_folder(clone.path / "reports/embedded") == embedded
    assert read_folder(clone.path / "reports/camvid") == own

    table = pd.read_csv(clone.path / "reports/camvid/tables/ablation.csv").set_index("variant")
    assert table["n"].to_dict() == {"baseline": 1, "apnb": 1, "ann": 1}
    scores = json.loads((clone.path / "runs/camvid/ann-0/scores.json").read_text(encoding="utf-8"))
    labelled = sum(
        int((np.asarray(Image.open(f)) != 11).sum()) for f in folder.glob("valannot/*.png")
    )
    protocol = scores["protocols"]["whole"]
    assert next(iter(protocol["class_iou"])) == "sky"
    assert sum(map(sum, protocol["confusion"])) == labelled

    (folder / "valannot/0001TP_000001.png").unlink()
    told = clone.run("dvc", "repro", "prepare", ok=False)
    assert "val/0001TP_000001.png: the image has no label" in told
    assert "Traceback" not in told


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the content of each file, PDFs aside, which have their time."""
    files = (f for f in folder.rglob("*") if f.is_file() and f.suffix != ".pdf")
    return {str(f.relative_to(folder)): f.read_bytes() for f in files}
