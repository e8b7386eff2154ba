"""A report of the committed results, with pictures of networks of random weights."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from pipeline.data.formats import DATASETS, scene
from pipeline.engine import checkpoint, networks, yaml_file
from pipeline.engine.files import digest_file
from pipeline.reporting.claims.entries import read_claims
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.results import Results
from pipeline.settings import params, schema
from pipeline.settings.paths import RunPaths
from pipeline.settings.records import CheckpointLine, FailureLine, NetworkCosts
from pipeline.stages import contact_sheet, figures, index, pictures, prepare, report
from tests.conftest import ROOT

PUBLISHED = yaml.safe_load((ROOT / "reports/published.yaml").read_text(encoding="utf-8"))
CLAIMS = read_claims(params.load(ROOT / "params.yaml"), ROOT / "reports/claims.yaml")
SHARED = ("claims.yaml", "published.yaml")
PICTURED = ("baseline", "ann", "nb", "apnb", "afnb")


def make_inputs(
    settings: schema.Params,
    results: Results | None = None,
    *,
    imported: dict[str, CheckpointLine] | None = None,
    failures: tuple[FailureLine, ...] = (),
    published: dict[str, Any] = PUBLISHED,
    networks: NetworkCosts | None = None,
) -> Inputs:
    """Return what the report is made from, without costs of blocks."""
    runs = {name: [] for name in settings.variants} | (results or {})
    return Inputs(
        experiment=settings.profile,
        settings=settings,
        results=runs,
        imported=imported or {},
        failures=list(failures),
        published=published,
        blocks=[],
        networks=networks,
        claims=CLAIMS,
    )


def prepare_root(root: Path) -> Path:
    """Write the committed results and a few drawn scenes, and no weights, into the folder."""
    root.mkdir(parents=True, exist_ok=True)
    settings = yaml_file.read_yaml(ROOT / "params.yaml")
    yaml_file.write_yaml(root / "params.yaml", settings)
    for name in ("results/embedded.jsonl", "embedded/networks.json", *SHARED):
        (root / "reports" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "reports" / name, root / "reports" / name)
    shutil.copytree(ROOT / "reports/efficiency", root / "reports/efficiency")
    with (root / "reports/embedded/curves.csv").open("w", encoding="utf-8") as file:
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
    """Write networks of random weights, and name them in the results as those that are scored."""
    digests = {}
    with contextlib.chdir(root):
        settings = params.load()
        classes = DATASETS[settings.active.dataset].classes
        for number, variant in enumerate(variants):
            network = settings.resolve_network(variant)
            torch.manual_seed(number)
            state = networks.build(network, len(classes)).state_dict()
            file = RunPaths(settings.profile, variant, settings.seeds[0]).weights
            checkpoint.save(file, state, network=network, classes=list(classes))
            digests[variant, settings.seeds[0]] = digest_file(file)
    results = root / "reports/results/embedded.jsonl"
    lines = list(map(json.loads, results.read_text(encoding="utf-8").splitlines()))
    for line in lines:
        if digest := digests.get((line.get("variant"), line.get("seed"))):
            line["record"]["weights_sha256"] = digest
    results.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def make_report(root: Path) -> Path:
    """Run the stages and return the folder of the profile in reports/."""
    add_weights(prepare_root(root))
    with contextlib.chdir(root):
        for stage in (contact_sheet, figures, pictures, report, index):
            stage.main()
    return root / "reports/embedded"
