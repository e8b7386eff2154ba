"""What shapes each stage beyond its files: its values of params.yaml, and its code.

The check stage writes this to data/inputs, a file for each stage, run and checkpoint. The stages
depend on these files, so that a change of params.yaml or of the code runs again what it shapes,
and dvc.lock stays short.
"""

from pathlib import Path
from typing import Any

from pipeline.engine.errors import InputError
from pipeline.engine.files import read_json
from pipeline.engine.weight_files import digest_weights
from pipeline.settings import code, contexts, params
from pipeline.settings.paths import INPUTS
from pipeline.settings.schema import Params, Profile


def values(settings: Params) -> dict[str, Any]:
    """Return the values of params.yaml that shape each stage which has no matrix."""
    # Where other datasets are on this machine changes no number.
    everything = settings.model_dump(mode="json", exclude={"data"})
    active, cost_profile = settings.active, settings.networks.profile
    profiles = {
        name: everything["profiles"][name] for name in sorted({settings.profile, cost_profile})
    }
    return {
        "plan": everything,
        "scene": everything["scene"],
        "prepare": {
            "dataset": active.dataset,
            "prepare": active.prepare.model_dump(),
            "title": settings.data_title,
        },
        "features": _shape_features(active),
        "contact_sheet": {
            "augment": active.train.augment.model_dump(mode="json"),
            "seed": settings.seeds[0],
        },
        "collect": everything,
        "efficiency": everything["efficiency"],
        "networks": {
            "networks": everything["networks"],
            "profile": settings.profile,
            "variants": {name: everything["variants"][name] for name in settings.rows},
            "profiles": {
                k: {name: p[name] for name in ("network", "train", "features")}
                for k, p in profiles.items()
            },
        },
        "figures": everything,
        "pictures": {
            "profile": settings.profile,
            "seed": settings.seeds[0],
            "show_images": active.show_images,
            "variants": {name: everything["variants"][name] for name in settings.rows},
            "evaluate": active.evaluate.model_dump(mode="json"),
        },
        "report": everything,
        "index": everything,
        "track": settings.profile,
    }


def _shape_features(profile: Profile) -> dict[str, Any]:
    """Return what shapes the maps of a profile's backbone, where they are computed before."""
    if not profile.features.cache:
        return {"cache": False}
    network = profile.network
    return {
        "features": profile.features.model_dump(),
        "network": network.model_dump(mode="json", exclude={"contexts"}),
        "crop": list(profile.train.augment.crop),
        "backbone_sha256": digest_weights(network.backbone, network.weights),
    }


Digests = dict[str, str]


def of_run(
    settings: Params, stage: str, variant: str, digests: Digests | None = None
) -> dict[str, Any]:
    """Return what shapes the train or evaluate stage of a variant.

    Args:
        settings: All of params.yaml.
        stage: train or evaluate.
        variant: The variant's name.
        digests: The stage's code, where it is known already.
    """
    digests = digests or code.digests(stage)
    network, active = settings.resolve_network(variant), settings.active
    shaping: dict[str, Any] = {"network": network, "train": active.train.model_dump(mode="json")}
    if stage == "evaluate":  # the network is in the weights, but not the code of its context
        shaping = {"evaluate": active.evaluate.model_dump(mode="json")}
    return {"values": shaping, "code": digests | contexts.digest_code(network["context"])}


def of_checkpoint(settings: Params, name: str) -> dict[str, Any]:
    """Return what shapes an imported checkpoint."""
    shaping = {
        "checkpoint": settings.checkpoints[name].model_dump(),
        "evaluate": settings.active.evaluate.model_dump(mode="json"),
    }
    return {"values": shaping, "code": code.digests("imported")}


def files(settings: Params) -> dict[Path, dict[str, Any]]:
    """Return the content of each file, by its path below data/inputs."""
    content: dict[Path, dict[str, Any]] = {}
    for stage, own in values(settings).items():
        content[Path(f"{stage}.json")] = {"values": own, "code": code.digests(stage)}
    for stage in ("train", "evaluate"):
        digests = code.digests(stage)
        for variant in settings.rows:
            content[Path(stage, f"{variant}.json")] = of_run(settings, stage, variant, digests)
    for name in settings.checkpoints:
        content[Path("imported", f"{name}.json")] = of_checkpoint(settings, name)
    return content


def load_run(stage: str, variant: str, seed: int) -> Params:
    """Load the settings of a run of the train or evaluate stage.

    Raises:
        InputError: The run is not one of params.yaml, or the check stage has not seen its settings
            and code. DVC knows only what the check stage saw.
    """
    settings = params.load()
    params.require_run(settings, variant, seed)
    _require_checked(Path(stage, f"{variant}.json"), of_run(settings, stage, variant))
    return settings


def load_checkpoint(name: str) -> Params:
    """Load the settings of an imported checkpoint, like `load_run`."""
    settings = params.load()
    params.find_checkpoint(settings, name)
    _require_checked(Path("imported", f"{name}.json"), of_checkpoint(settings, name))
    return settings


def _require_checked(name: Path, content: dict[str, Any]) -> None:
    file = INPUTS / name
    if not file.exists() or read_json(file) != content:
        raise InputError(
            f"{file} is older than params.yaml or the code; run `dvc repro check` first"
        )
