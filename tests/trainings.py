"""A training in this process, of the run that a clone's settings describe."""

from pathlib import Path

from lightning_fabric import Fabric

from pipeline.data.prepared.store import Store
from pipeline.settings import params, records
from pipeline.settings.paths import RunPaths
from pipeline.training.run import Run
from pipeline.training.state import Training

DATA = Path("data/prepared/embedded")


def make(variant: str, **changes: object) -> Training:
    """With the first seed, in float32, with some of the training's settings changed."""
    settings = params.load()
    run = Run(
        profile="embedded",
        variant=variant,
        seed=0,
        network=settings.resolve_network(variant),
        train=settings.active.train.model_copy(update=changes),
        manifest=records.read(records.Manifest, DATA / "manifest.json"),
        precision="float32",
        device="cpu",
        world_size=1,
    )
    fabric = Fabric(accelerator="cpu", devices=1)
    return Training(run, fabric, RunPaths("embedded", variant, 0), Store(DATA, "train"))
