"""Stage networks: measure the cost of whole networks, which predicts the time of trainings.

    python -m pipeline networks

It counts parameters and operations of every variant: in the active profile at its training crop,
and in the profile of the `networks` settings at their sizes. It measures images per second and peak
memory of a forward pass and of a training step, unless they exceed the time limit. A training's
predicted seconds are those of a step times its iterations. It writes
reports/<profile>/networks.json.
"""

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from typing import Literal, get_args

import torch
from torch import Tensor

from ann import SegmentationNetwork
from pipeline.data import formats as datasets
from pipeline.engine import networks, provenance
from pipeline.engine.precision import autocast, resolve_precision
from pipeline.engine.progress import Reporter
from pipeline.measuring import clock
from pipeline.measuring.counting import count_needs
from pipeline.measuring.process import MEASURED, Outcome, measure_series, run_in_process
from pipeline.settings import fields, params, records, schema
from pipeline.settings.paths import ReportPaths
from pipeline.settings.records import Measurement, NetworkCost, NetworkCosts
from pipeline.training.recipe import make_optimizer, training_loss

Call = Literal["forward", "step"]
CALLS: tuple[Call, ...] = get_args(Call)
_WARM_UP = 128  # the side of the first call's small images


@dataclass(frozen=True)
class Job:
    """A network to measure: one call on a batch of images of a size (height, width).

    Attributes:
        cached: Whether a training step gets the backbone's maps, which are computed before.
        warm_up: The size of the first call's images.
    """

    profile: str
    variant: str
    size: tuple[int, int]
    batch: int
    network: fields.NetworkSettings
    classes: int
    train: schema.Train
    repeats: int
    seconds: float
    cached: bool
    call: Call = "forward"
    device: str = "cpu"
    warm_up: tuple[int, int] = (_WARM_UP, _WARM_UP)
    parameters: int = 0
    flops: int = 0


def list_jobs(settings: schema.Params) -> list[Job]:
    """List the networks to measure.

    These are the variants of the active profile at its crop with its batch, and those of the
    profile of the `networks` settings with a batch of 1.
    """
    own, other = settings.active, settings.networks
    inputs = [(settings.profile, own.train.augment.crop, own.train.batch_size)]
    inputs += [(other.profile, size, 1) for size in other.sizes]
    return [
        Job(
            profile=profile,
            variant=variant,
            size=size,
            batch=batch,
            network=settings.resolve_network(variant, profile),
            classes=len(datasets.DATASETS[settings.profiles[profile].dataset].classes),
            train=settings.profiles[profile].train,
            cached=settings.profiles[profile].features.cache,
            repeats=other.repeats,
            seconds=other.seconds,
        )
        for profile, size, batch in inputs
        for variant in settings.rows
    ]


def build_network(job: Job, form: str | None = None) -> SegmentationNetwork:
    """Build the network of a job; `form` replaces the form of its blocks."""
    options = job.network["options"] | ({"form": form} if form else {})
    return networks.build(job.network | {"options": options}, job.classes)


@dataclass(frozen=True)
class Counts:
    """What is known of a job without measuring.

    Attributes:
        parameters: The number of the network's parameters.
        flops: Operations of an image's forward pass in the blocks' plain form.
        warm_up: The size of the first call's images.
    """

    parameters: int
    flops: int
    warm_up: tuple[int, int]


def count_networks(work: list[Job]) -> list[Counts]:
    """Count what each job's network needs, on the meta device."""
    counts = []
    networks: dict[tuple[str, str], SegmentationNetwork] = {}
    with torch.device("meta"), torch.no_grad():
        for job in work:
            name = job.profile, job.variant
            if name not in networks:
                networks[name] = build_network(job, "plain").eval()
            image = torch.zeros(1, 3, *job.size)
            cost = count_needs(networks[name], partial(networks[name], image))
            warm_up = find_warm_up(networks[name], job.size)
            counts.append(Counts(cost.parameters, cost.flops, warm_up))
    return counts


def find_warm_up(network: SegmentationNetwork, size: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest size for a first call; some contexts refuse small feature maps.

    Args:
        network: The network on the meta device, in evaluation mode.
        size: The size of the images that come after it.
    """
    height, width = size
    side = _WARM_UP
    while side < max(size):
        small = min(height, side), min(width, side)
        with suppress(Exception):  # of any type, because users may write contexts
            network(torch.zeros(1, 3, *small, device="meta"))
            return small
        side *= 2
    return size


def make_call(job: Job, size: tuple[int, int]) -> clock.Call:
    """Return the call to measure: a forward pass, or a training step of the train stage."""
    torch.manual_seed(0)
    device, settings = torch.device(job.device), job.train
    network = build_network(job).to(device).to(memory_format=torch.channels_last)
    batch = job.batch
    images = torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8, device=device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, job.classes, (batch, *size), device=device)
    sample_ids = torch.arange(batch, device=device)
    precision = resolve_precision(settings.precision, device)

    if job.call == "forward":
        network.eval()

        @torch.inference_mode()
        def forward() -> None:
            with autocast(precision, device):
                network(images, sample_ids)

        return forward
    optimizer = make_optimizer(network.train(), settings.optimizer)
    inputs: Tensor | tuple[Tensor, Tensor] = images
    if job.cached:
        with torch.no_grad():
            stage4, stage5 = network.compute_maps(images)
        inputs = stage4.half(), stage5.half()

    def step() -> None:
        with autocast(precision, device):
            logits, aux = network(inputs, sample_ids)
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


def measure_network(job: Job) -> Measurement:
    """Measure time and memory of a network, in its own process."""
    precision = resolve_precision(job.train.precision, torch.device(job.device))
    clock.set_up_torch(job.train.threads, job.device, precision, job.train.deterministic)
    make_call(job, job.warm_up)()
    call = make_call(job, job.size)
    return clock.measure(call, job.device, repeats=job.repeats, seconds=job.seconds)


def measure_all(work: list[Job], device: str, limit: float) -> list[NetworkCost]:
    """Count and measure every job, and return two rows for each: forward and training step.

    The jobs of one profile are a series of growing cost. After one that does not fit or exceeds the
    limit, no later one runs.

    Args:
        work: The networks.
        device: The device to measure on.
        limit: The most seconds of a call.
    """
    counts = run_in_process(count_networks, work, limit=3600).require()
    jobs = [
        replace(job, **asdict(own), device=device) for job, own in zip(work, counts, strict=True)
    ]
    plans = list(product(dict.fromkeys(job.profile for job in work), CALLS))
    rows: list[NetworkCost] = []
    with Reporter("networks", len(plans)) as reporter:
        for done, (profile, call) in enumerate(plans, 1):
            own = [replace(job, call=call) for job in jobs if job.profile == profile]
            rows += [_make_row(*row) for row in measure_series(own, measure_network, limit)]
            reporter.update(done, f"{profile} {call}")
    return rows


def _make_row(job: Job, outcome: Outcome[Measurement]) -> NetworkCost:
    return NetworkCost(
        profile=job.profile,
        variant=job.variant,
        call=job.call,
        size=job.size,
        batch=job.batch,
        parameters=job.parameters,
        flops=job.flops,
        status=outcome.status,
        measured=outcome.result,
    )


def main() -> None:
    settings = params.load()
    names = run_in_process(clock.device_names, limit=60).require()
    device = "cuda" if "cuda" in names else "cpu"
    rows = measure_all(list_jobs(settings), device, settings.networks.limit)
    costs = NetworkCosts(
        version=1,
        profile=settings.profile,
        crop=settings.active.train.augment.crop,
        iterations=settings.active.train.iterations,
        limit=settings.networks.limit,
        code=records.Code(**provenance.read_code_version()),
        environment=records.Environment(**provenance.describe_machine(names[device])),
        networks=rows,
    )
    records.write(ReportPaths(settings.profile).networks, costs)
    statuses = [row.status for row in rows]
    print(
        f"{len(statuses) // 2} networks are counted; {statuses.count(MEASURED)} of "
        f"{len(statuses)} calls are measured"
    )
