"""Stage check: refuse a wrong params.yaml, a missing dataset folder or checkpoint before any work.

    python -m pipeline.check

Writes what all trainings, and all evaluations, take from params.yaml under data/settings. They
depend on these files: their values would otherwise stand in dvc.lock once for each run, and DVC
reads and writes the whole of dvc.lock after every stage. A variant with a block of contexts/ gets
a file that says which one, with what settings and of what code: its trainings depend on it.
"""

from pathlib import Path

from pipeline.common import cli, contexts, params, trials, workspace
from pipeline.common.files import whole_file, whole_folder, write_json

CHECKED = Path("data/checked.txt")  # always the same, so that what follows is not invalidated


def refuse_weights(settings: params.Params) -> None:
    """Refuse weights that do not fit, or cannot be downloaded, before any work is done."""
    if settings.checkpoints:
        from pipeline import imported  # here, because it takes long to import

        for given in settings.checkpoints.values():
            imported.read(given)
    weights = settings.active.network.weights
    if weights:
        import torch

        from ann.backbone import Backbone
        from pipeline.training.weights import read_backbone

        networks = [settings.network(variant) for variant in settings.variants]
        for name, stem in dict.fromkeys((n["backbone"], n["stem"]) for n in networks):
            with torch.device("meta"):
                backbone = Backbone(name, stem=stem)
            read_backbone(backbone, name, weights)


def _link_outside(settings: params.Params) -> None:
    """Link to the files beside the repository's own that params.yaml names, in a temporary copy."""
    if not settings.embedded:
        workspace.link("dataset_dir", Path(settings.dataset_dir))
    for name, given in settings.checkpoints.items():
        workspace.link(f"checkpoints.{name}.file", Path(given.file))
    weights = settings.active.network.weights
    if weights not in (None, "imagenet"):
        workspace.link(f"profiles.{settings.profile}.network.weights", Path(weights))


def refuse_unfit(settings: params.Params) -> None:
    """Refuse what no network of the settings can take, as far as it is known before the data are.

    The train stage tries the sizes of all validation images. Here only those that the scene stage
    will draw are known.
    """
    from ann import Sampler
    from pipeline.scoring.shown import evaluation_trials

    scene, active, other = settings.scene, settings.active, settings.networks
    images = [(scene.height, scene.width)] if settings.embedded else []
    tried = [*trials.training_trials(active.train), *evaluation_trials(images, active.evaluate)]
    sizes = [trials.Trial(1, s, False, "for networks.sizes, {}x{}".format(*s)) for s in other.sizes]
    known: trials.Maps = {}
    for name in settings.variants:
        trials.refuse(f"variants.{name}", settings.network(name), tried, known)
        network = settings.network(name, other.profile)
        if sizes and "settings" in network:  # the blocks of `ann` take any map, in much time to try
            trials.refuse(f"variants.{name} in {other.profile}", network, sizes, known)
    measured = settings.efficiency
    sampler = Sampler(measured.sampling, measured.pool_sizes)
    for height, width in measured.sizes + measured.curve.sizes:
        try:
            sampler.check(height, width)
        except ValueError as error:
            raise cli.InputError(f"efficiency.{error}") from None


def main() -> None:
    settings = params.load()
    _link_outside(settings)
    if not settings.embedded and not Path(settings.dataset_dir).is_dir():
        raise cli.InputError(
            f"dataset_dir is {settings.dataset_dir!r}; there is no such folder; "
            f"allowed is the dataset's folder, or {params.EMBEDDED} for the embedded one"
        )
    for name, given in settings.checkpoints.items():
        if not Path(given.file).is_file():
            raise cli.InputError(
                f"checkpoints.{name}.file is {given.file!r}; there is no such file; allowed is a "
                f"network's .pth or .safetensors file"
            )
    contexts.refuse_wrong(settings)
    refuse_weights(settings)
    refuse_unfit(settings)
    with whole_folder(contexts.SETTINGS) as folder:
        for name in settings.variants:
            write_json(folder / f"{name}.json", contexts.by_variant(settings, name))
    for stage, values in params.by_stage(settings).items():
        write_json(params.SETTINGS / f"{stage}.json", values)
    with whole_file(CHECKED) as partial:
        partial.write_text("params.yaml is valid\n", encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
