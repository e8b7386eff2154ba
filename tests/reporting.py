"""A report of the committed results, and with pictures of networks of random weights."""

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import torch

from pipeline import contact_sheet, figures, pictures, prepare, report
from pipeline.common import checkpoint, params, yaml_file
from pipeline.common.files import file_digest
from pipeline.common.paths import RunPaths
from pipeline.datasets import DATASETS, scene
from tests.conftest import ROOT

PICTURED = ("baseline", "ann", "nb", "apnb", "afnb")


def prepared(root: Path) -> Path:
    """A folder with the committed results, a few drawn scenes, and no weights."""
    root.mkdir(parents=True, exist_ok=True)
    settings = yaml_file.read(ROOT / "params.yaml")
    yaml_file.write(root / "params.yaml", settings)
    (root / "reports").mkdir()
    for name in ("results.jsonl", "networks.json", "published.yaml"):
        shutil.copy(ROOT / "reports" / name, root / "reports" / name)
    shutil.copytree(ROOT / "reports/efficiency", root / "reports/efficiency")
    with (root / "reports/curves.csv").open("w", encoding="utf-8") as file:
        # two seeds of each row of the ablation
        file.write("variant,seed,iteration,loss\n")
        for variant in settings["tables"]["ablation"]:
            for seed, i in np.ndindex(2, 80):
                file.write(f"{variant},{seed},{4 * i + 4},{2 / (i + 1) + 0.1 * seed}\n")
    with contextlib.chdir(root):
        data = Path(settings["dataset_dir"])
        scene.write(data, counts={"train": 12, "val": 5}, seed=0, height=64, width=128)
        prepare.main()
    return root


def add_weights(root: Path, variants: tuple[str, ...] = PICTURED) -> None:
    """Networks of random weights, told by the results as those that they score."""
    digests = {}
    with contextlib.chdir(root):
        settings = params.load()
        classes = DATASETS[settings.active.dataset].classes
        for number, variant in enumerate(variants):
            network = settings.network(variant)
            torch.manual_seed(number)
            state = checkpoint.build(network, len(classes)).state_dict()
            file = RunPaths(settings.profile, variant, settings.seeds[0]).weights
            checkpoint.save(file, state, network=network, classes=list(classes))
            digests[variant, settings.seeds[0]] = file_digest(file)
    results = root / "reports/results.jsonl"
    lines = list(map(json.loads, results.read_text(encoding="utf-8").splitlines()))
    for line in lines:
        if digest := digests.get((line.get("variant"), line.get("seed"))):
            line["record"]["weights_sha256"] = digest
    results.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def made(root: Path) -> Path:
    """All of it, by the stages' own commands; returns reports/."""
    add_weights(prepared(root))
    with contextlib.chdir(root):
        for stage in (contact_sheet, figures, pictures, report):
            stage.main()
    return root / "reports"
