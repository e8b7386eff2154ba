"""Stage train: one variant with one seed, to its last iteration.

    python -m pipeline.train VARIANT SEED
    torchrun --nproc-per-node 8 -m pipeline.train VARIANT SEED

Writes the final weights under weights/, the learning curve and where they come from under runs/.
State is saved while it runs in .resume/<fingerprint>; a run that was killed goes
on there, and ends with the same weights, bit for bit, as one that was not.
"""

import os
import sys

import torch

from pipeline.common import cli, failures, params, trials
from pipeline.common.files import read_json
from pipeline.common.gpus import device
from pipeline.common.paths import RunPaths
from pipeline.common.processes import launch
from pipeline.inputs.store import Store
from pipeline.prepare import MANIFEST, folder
from pipeline.training.loop import fit
from pipeline.training.run import Run, describe, resolve_precision
from pipeline.training.state import Training


def make_deterministic() -> None:
    """Have CUDA take its repeatable kernels, and warn where it has none."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def refuse_unfit(settings: params.Params, run: Run, images: list[tuple[int, int]]) -> None:
    """Refuse a network that cannot take this training's parts, or the images (height, width)."""
    from pipeline.scoring.shown import evaluation_trials  # here, for it shapes no training

    trained = trials.training_trials(run.train, run.world_size)
    scored = evaluation_trials(images, settings.active.evaluate)
    trials.refuse(f"variants.{run.variant}", run.network, [*trained, *scored])


def main() -> None:
    settings, variant, seed = params.load_run("train", sys.argv[1:])
    train = settings.active.train
    data = folder(settings.profile)
    if not (data / MANIFEST).exists():
        raise cli.InputError(f"{data / MANIFEST} is missing; run `dvc repro prepare` first")
    torch.set_num_threads(train.threads)
    if train.deterministic and device().type == "cuda":
        make_deterministic()
    precision = resolve_precision(train.precision, device())
    fabric = launch(precision)
    if train.batch_size % fabric.world_size:
        raise cli.InputError(
            f"train.batch_size is {train.batch_size}; allowed are multiples of the "
            f"{fabric.world_size} processes"
        )
    run = Run(
        profile=settings.profile,
        variant=variant,
        seed=seed,
        network=settings.network(variant),
        train=train,
        manifest=read_json(data / MANIFEST),
        precision=precision,
        device=fabric.device.type,
        world_size=fabric.world_size,
    )
    refuse_unfit(settings, run, Store(data, "val").sizes)
    paths = RunPaths(settings.profile, variant, seed)
    with failures.kept(paths, settings, "train") as more:
        more["fingerprint"] = run.fingerprint
        training = Training(run, fabric, paths, Store(data, "train"))
        record = describe(run)
        if training.start:
            fabric.print(f"{variant}-{seed}: goes on at iteration {training.start}")
        record["speed"] = fit(training, record)
        training.finish(record)


if __name__ == "__main__":
    cli.run(main)
