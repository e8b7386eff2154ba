"""Stage train: one variant with one seed, to its last iteration.

    python -m pipeline train VARIANT SEED
    torchrun --nproc-per-node 8 -m pipeline train VARIANT SEED

It writes the final weights to weights/, and the learning curve and the run's origin to runs/. While
it runs, it saves its state to .resume/<fingerprint>. An interrupted run resumes from there, and its
final weights are the same, bit for bit.
"""

from functools import partial

import torch

from pipeline.data.features.origin import open_features
from pipeline.data.prepared.store import Store
from pipeline.data.samples.loader import Cached
from pipeline.engine import errors, failures
from pipeline.engine.gpus import choose_device
from pipeline.engine.precision import resolve_precision, set_up_cuda
from pipeline.engine.processes import launch
from pipeline.settings import inputs, records, schema, trials
from pipeline.settings.paths import MANIFEST, RunPaths, locate_prepared
from pipeline.settings.runs import write_failure
from pipeline.training.loop import fit
from pipeline.training.run import Run, describe
from pipeline.training.state import Training


def check_network(settings: schema.Params, run: Run, images: list[tuple[int, int]]) -> None:
    """Raise an InputError if the network cannot take the training's batches or all images.

    Args:
        settings: All of params.yaml.
        run: The run.
        images: The height and width of each validation image.
    """
    from pipeline.scoring.sizes import evaluation_trials

    training = trials.list_training_trials(run.train, run.world_size)
    evaluation = evaluation_trials(images, settings.active.evaluate)
    trials.check_network(f"variants.{run.variant}", run.network, [*training, *evaluation])


def main(variant: str, seed: int) -> None:
    settings = inputs.load_run("train", variant, seed)
    train = settings.active.train
    data = locate_prepared(settings.profile)
    if not (data / MANIFEST).exists():
        raise errors.InputError(f"{data / MANIFEST} is missing; run `dvc repro prepare` first")
    torch.set_num_threads(train.threads)
    precision = resolve_precision(train.precision, choose_device())
    if choose_device().type == "cuda":
        set_up_cuda(precision, train.deterministic)
    fabric = launch(precision)
    if train.batch_size % fabric.world_size:
        raise errors.InputError(
            f"train.batch_size must be a multiple of the {fabric.world_size} processes, got "
            f"{train.batch_size}"
        )
    network = settings.resolve_network(variant)
    manifest = records.read(records.Manifest, data / MANIFEST)
    cached, digest = None, None
    if settings.active.features.cache:
        features, digest = open_features(settings.profile, "train", network, manifest)
        cached = Cached(features, network["output_stride"])
    run = Run(
        profile=settings.profile,
        variant=variant,
        seed=seed,
        network=network,
        train=train,
        manifest=manifest,
        precision=precision,
        device=fabric.device.type,
        world_size=fabric.world_size,
        features=digest,
    )
    check_network(settings, run, Store(data, "val").sizes)
    paths = RunPaths(settings.profile, variant, seed)
    keep = partial(write_failure, settings, paths, "train", run.fingerprint)
    with failures.record_failure(paths.failure, keep):
        training = Training(run, fabric, paths, Store(data, "train"), cached)
        record = describe(run)
        if training.start:
            fabric.print(f"{variant}-{seed}: resumes at iteration {training.start}")
        training.finish(record, fit(training, record))
