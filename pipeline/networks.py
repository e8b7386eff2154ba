"""Stage networks: what the whole networks cost, and how long the trainings should take.

    python -m pipeline.networks

Counts parameters and operations of every variant: the active profile's at its training crop, and
the `networks` settings' profile at their sizes. Measures images a second and peak memory, forward
and in a training step, of what is within the time limit. A training's predicted seconds are
those of a step times its iterations. Writes reports/networks.json.
"""

from contextlib import AbstractContextManager
from functools import partial
from itertools import product

import torch

from ann import SegmentationNetwork
from pipeline import datasets
from pipeline.common import checkpoint, cli, params, provenance
from pipeline.common.files import write_json
from pipeline.common.paths import NETWORKS
from pipeline.common.progress import Reporter
from pipeline.measuring import clock
from pipeline.measuring.counting import counted
from pipeline.measuring.process import MEASURED, Row, fresh, series
from pipeline.training.recipe import make_optimizer, training_loss
from pipeline.training.run import resolve_precision

PASSES = ("forward", "step")
_WARM_UP = 128  # the side of the images of a first, small call


def jobs(settings: params.Params) -> list[Row]:
    """Every variant of the active profile at its crop with its batch, and of the other at 1."""
    own, other = settings.active, settings.networks
    inputs = [(settings.profile, own.train.augment.crop, own.train.batch_size)]
    inputs += [(other.profile, size, 1) for size in other.sizes]
    return [
        {
            "profile": profile,
            "variant": variant,
            "size": size,
            "batch": batch,
            "network": settings.network(variant, profile),
            "classes": len(datasets.DATASETS[settings.profiles[profile].dataset].classes),
            "train": settings.profiles[profile].train.model_dump(),
            "repeats": other.repeats,
            "seconds": other.seconds,
        }
        for profile, size, batch in inputs
        for variant in settings.variants
    ]


def build(job: Row, form: str | None = None) -> SegmentationNetwork:
    options = job["network"]["options"] | ({"form": form} if form else {})
    return checkpoint.build(job["network"] | {"options": options}, job["classes"])


def count(work: list[Row]) -> Row:
    """Parameters, and operations of an image's forward pass in the blocks' plain form."""
    counts = []
    networks: dict[tuple[str, str], SegmentationNetwork] = {}
    with torch.device("meta"), torch.no_grad():
        for job in work:
            name = job["profile"], job["variant"]
            if name not in networks:
                networks[name] = build(job, "plain").eval()
            image = torch.zeros(1, 3, *job["size"])
            found = counted(networks[name], partial(networks[name], image))
            counts.append({key: found[key] for key in ("parameters", "flops")})
    return {"counts": counts}


def call_of(job: Row, size: tuple[int, int]) -> clock.Call:
    """The call that is measured: a forward pass, or a training step as the train stage makes it."""
    torch.manual_seed(0)
    device, settings = torch.device(job["device"]), params.Train.model_validate(job["train"])
    network = build(job).to(device).to(memory_format=torch.channels_last)
    batch = job["batch"]
    images = torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8, device=device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, job["classes"], (batch, *size), device=device)
    keys = torch.arange(batch, device=device)
    low = resolve_precision(settings.precision, device) == "bfloat16"

    def autocast() -> AbstractContextManager[None]:
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=low)

    if job["pass"] == "forward":
        network.eval()

        @torch.inference_mode()
        def forward() -> None:
            with autocast():
                network(images, keys)

        return forward
    optimizer = make_optimizer(network.train(), settings.optimizer)

    def step() -> None:
        with autocast():
            logits, aux = network(images, keys)
        assert aux is not None  # in training
        loss = training_loss(
            settings.loss,
            logits.float(),
            aux.float(),
            labels,
            class_weights=None,  # known only with a dataset
            align_corners=network.align_corners,
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def measure_network(job: Row) -> Row:
    """Time and memory of a network, in a process that does no more."""
    clock.prepare(job["train"]["threads"])
    height, width = job["size"]
    call_of(job, (min(height, _WARM_UP), min(width, _WARM_UP)))()
    call = call_of(job, job["size"])
    return clock.measure(call, job["device"], repeats=job["repeats"], seconds=job["seconds"])


def measure_all(work: list[Row], device: str, limit: float) -> list[Row]:
    """Two rows a job, forward and training step: what was counted, and measured on the device.

    The jobs of one profile are a series of growing operations: beyond one that does not fit or is
    over the limit none is tried.
    """
    counts = fresh(count, work, limit=3600)["counts"]
    counted = [job | found | {"device": device} for job, found in zip(work, counts, strict=True)]
    plans = list(product(dict.fromkeys(job["profile"] for job in work), PASSES))
    rows: list[Row] = []
    with Reporter("networks", len(plans)) as reporter:
        for done, (profile, name) in enumerate(plans, 1):
            own = [job | {"pass": name} for job in counted if job["profile"] == profile]
            rows += [_kept(row) for row in series(own, measure_network, limit)]
            reporter.update(done, f"{profile} {name}")
    return rows


def _kept(row: Row) -> Row:
    own = ["profile", "variant", "pass", "size", "batch", "parameters", "flops", "status"]
    found = ["seconds", "repeats", "peak_bytes", "memory_by"]
    return {k: row[k] for k in own + (found if row["status"] == MEASURED else [])}


def main() -> None:
    settings = params.load()
    names = fresh(clock.device_names, limit=60)
    device = "cuda" if "cuda" in names else "cpu"
    rows = measure_all(jobs(settings), device, settings.networks.limit)
    about = {
        "profile": settings.profile,
        "crop": settings.active.train.augment.crop,
        "iterations": settings.active.train.iterations,
        "limit": settings.networks.limit,
        "code": provenance.code_version(),
        "environment": provenance.environment(names[device]),
    }
    write_json(NETWORKS, about | {"networks": rows})
    told = [row["status"] for row in rows]
    print(
        f"{len(told) // 2} networks are counted; {told.count(MEASURED)} of {len(told)} calls are "
        "measured"
    )


if __name__ == "__main__":
    cli.run(main)
