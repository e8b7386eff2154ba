"""Stage check: find errors in params.yaml, and missing data or checkpoints, before any work.

    python -m pipeline check

It writes the values and the code that shape each stage to data/inputs (see
pipeline.settings.inputs).
"""

from pathlib import Path

from pipeline.engine import errors, workspace
from pipeline.engine.files import digest, whole_file, whole_folder, write_json
from pipeline.engine.weight_files import IMAGENET, PACKAGES
from pipeline.reporting.claims.entries import read_claims
from pipeline.settings import contexts, inputs, params, paths, schema, trials


def check_weights(settings: schema.Params) -> None:
    """Raise an InputError for weights that do not fit or cannot be downloaded."""
    if settings.checkpoints:
        from pipeline.scoring import imported

        for checkpoint in settings.checkpoints.values():
            imported.read_checkpoint(checkpoint)
    weights = settings.active.network.weights
    if weights:
        from pipeline.engine.weights import read_backbone
        from pipeline.measuring.counting import build_backbone, select_backbone

        resolved = [settings.resolve_network(variant) for variant in settings.rows]
        for network in {digest(select_backbone(n)): n for n in resolved}.values():
            try:
                backbone = build_backbone(network)
            except (ImportError, ValueError) as error:
                raise errors.InputError(f"profiles.{settings.profile}.network: {error}") from None
            read_backbone(backbone, network["backbone"], weights)


def _link_outside(settings: schema.Params) -> None:
    """Link to the data and weights that params.yaml names, if this is a temporary copy."""
    if not settings.embedded:
        workspace.link("dataset_dir", Path(settings.dataset_dir))
    for name, checkpoint in settings.checkpoints.items():
        workspace.link(f"checkpoints.{name}.file", Path(checkpoint.file))
    weights = settings.active.network.weights
    if weights is not None and weights not in (IMAGENET, *PACKAGES):
        workspace.link(f"profiles.{settings.profile}.network.weights", Path(weights))


def check_networks(settings: schema.Params) -> None:
    """Raise an InputError if a network cannot take one of the sizes that are already known.

    The train stage tries the sizes of all validation images. Here only the sizes of the scene
    stage's images are known.
    """
    from ann import Sampler
    from pipeline.scoring.sizes import evaluation_trials

    scene, active, other = settings.scene, settings.active, settings.networks
    images = [(scene.height, scene.width)] if settings.embedded else []
    own_trials = [
        *trials.list_training_trials(active.train),
        *evaluation_trials(images, active.evaluate),
    ]
    cost_trials = [
        trials.Trial(1, s, False, "for networks.sizes, {}x{}".format(*s)) for s in other.sizes
    ]
    maps: trials.Maps = {}
    for name in settings.rows:
        trials.check_network(f"variants.{name}", settings.resolve_network(name), own_trials, maps)
        network = settings.resolve_network(name, other.profile)
        if cost_trials and "settings" in network:  # the blocks of `ann` take any size
            trials.check_network(f"variants.{name} in {other.profile}", network, cost_trials, maps)
    efficiency = settings.efficiency
    sampler = Sampler(efficiency.sampling, efficiency.pool_sizes)
    for height, width in efficiency.sizes + efficiency.curve.sizes:
        try:
            sampler.check(height, width)
        except ValueError as error:
            raise errors.InputError(f"efficiency.{error}") from None


def main() -> None:
    settings = params.load()
    _link_outside(settings)
    if not settings.embedded and not Path(settings.dataset_dir).is_dir():
        raise errors.InputError(
            f"dataset_dir must be the dataset's folder; there is no {settings.dataset_dir!r}; set "
            f"data.{settings.active.data} to the dataset's folder, and run `python -m pipeline use "
            f"{settings.profile}`"
        )
    for name, checkpoint in settings.checkpoints.items():
        if not Path(checkpoint.file).is_file():
            raise errors.InputError(
                f"checkpoints.{name}.file must be a network's .pth or .safetensors file; there is "
                f"no {checkpoint.file!r}"
            )
    contexts.check_contexts(settings)
    read_claims(settings)
    check_weights(settings)
    check_networks(settings)
    with whole_folder(paths.INPUTS) as folder:
        for file, content in inputs.files(settings).items():
            write_json(folder / file, content)
    # Always the same text, so that later stages stay up to date.
    with whole_file(paths.CHECK_MARK) as partial:
        partial.write_text("params.yaml is valid\n", encoding="utf-8")
