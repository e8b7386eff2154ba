"""Stage plan: predict the cost of the experiment before anything long starts.

    python -m pipeline plan

It counts on the meta device, which computes nothing, what a training of every variant in every
profile needs. From this and the `plan` settings it predicts hours, memory and disk space. If a
profile's networks.json has the measured step of a network, it uses that instead. It prints and
writes reports/plan.md.
"""

from typing import NamedTuple

import pandas as pd

from pipeline.data import formats as datasets
from pipeline.data.features.store import VIEWS
from pipeline.data.prepared.space import CHANNELS
from pipeline.engine.files import digest, whole_file
from pipeline.measuring.counting import Maps, Needs, count_channels, training_needs
from pipeline.reporting.columns import Column, Number, Table
from pipeline.reporting.rendering import to_markdown
from pipeline.settings import costs, params, records, schema
from pipeline.settings.paths import PLAN, ReportPaths
from pipeline.settings.records import Measurement, NetworkCosts

PASSES = 3  # a forward pass, and a backward pass of twice its operations
FLOAT = 4  # bytes of a weight, of its gradient and of each of its optimizer's values


class Data(NamedTuple):
    """A dataset as published.

    Attributes:
        train: The number of training images.
        val: The number of validation images.
        height: The height of all images, or the mean height.
        width: The width of all images, or the mean width.
        exact: Whether all images have this size.
    """

    train: int
    val: int
    height: int
    width: int
    exact: bool = True

    @property
    def prepared(self) -> int:
        """The bytes of the prepared images and labels."""
        return (self.train + self.val) * self.height * self.width * CHANNELS


def describe_data(settings: schema.Params, profile: str) -> Data:
    """Return the dataset of a profile; the size of the drawn one is in the `scene` settings."""
    if settings.view(profile).embedded:
        scene = settings.scene
        return Data(scene.train, scene.val, scene.height, scene.width)
    dataset = datasets.DATASETS[settings.profiles[profile].dataset]
    images = dataset.published_counts
    return Data(images["train"], images["val"], *dataset.size, exact=not dataset.sizes_differ)


def count_needs(settings: schema.Params) -> dict[str, dict[str, Needs]]:
    """Count what a training needs, by profile and variant; equal networks are counted once."""
    counted: dict[str, Needs] = {}
    counts: dict[str, dict[str, Needs]] = {}
    backbones: dict[str, tuple[Needs, Maps]] = {}
    for profile, own in settings.profiles.items():
        classes = len(datasets.DATASETS[own.dataset].classes)
        counts[profile] = {}
        for variant in settings.view(profile).rows:
            network = settings.resolve_network(variant, profile) | {"weights": None}
            cached = own.features.cache
            key = digest([network, classes, own.train.model_dump(mode="json"), cached])
            if key not in counted:
                counted[key] = training_needs(network, classes, own.train, backbones, cached)
            counts[profile][variant] = counted[key]
    return counts


def find_measured_step(
    profile: str, variant: str, train: schema.Train, parameters: int
) -> tuple[Measurement, str] | None:
    """Return the measured training step of a network and its device, or None if there is none."""
    path = ReportPaths(profile).networks
    if not path.exists():
        return None
    file = records.read(NetworkCosts, path)
    step = (profile, variant, "step", train.augment.crop, train.largest_part, parameters)
    for row in file.networks:
        key = (row.profile, row.variant, row.call, row.size, row.batch, row.parameters)
        if key == step and row.measured:
            return row.measured, file.environment.device
    return None


def predict(plan: costs.Plan, train: schema.Train, need: Needs) -> tuple[float, float]:
    """Predict seconds and peak bytes of a training in closed form."""
    precision = "bfloat16" if train.precision == "auto" else train.precision
    rate = getattr(plan.tflops, precision) * 1e12 * plan.utilisation
    flops = PASSES * need.flops + need.frozen_flops
    seconds = flops * train.batch_size * train.iterations / rate
    optimizer = train.optimizer
    values = 2 if optimizer.name == "adamw" else int(bool(optimizer.momentum))
    trained = need.parameters - need.frozen_parameters
    # Weights, and of those that are trained gradients and the optimizer's values.
    state = FLOAT * (need.parameters + trained * (1 + values))
    return seconds, state + train.largest_part * (need.saved_bytes + need.loss_bytes)


def tabulate_trainings(
    settings: schema.Params, profile: str, counts: dict[str, Needs]
) -> pd.DataFrame:
    """Return a row for each variant: the cost of one training, and how it is known."""
    train, rows = settings.profiles[profile].train, []
    for variant, need in counts.items():
        seconds, predicted = predict(settings.plan, train, need)
        memory = predicted
        how = f"predicted for {settings.plan.device}"
        measurement = find_measured_step(profile, variant, train, need.parameters)
        if measurement:
            step, device = measurement
            seconds = step.seconds * train.iterations * train.batch_size / train.largest_part
            memory = step.peak_bytes + FLOAT * need.parameters
            how = f"measured step, {device}"
        row = {
            "variant": variant,
            "parameters": need.parameters,
            "trained": need.parameters - need.frozen_parameters,
            "flops": need.flops + need.frozen_flops,
            "hours": seconds / 3600,
            "memory": memory,
            "how": how,
            "measured": bool(measurement),
            "off": memory / predicted,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _format_figure(value: float) -> str:
    """Return two significant digits, or all digits before the point."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _format_hours(hours: float) -> str:
    """Return a time in seconds, minutes or hours."""
    for unit, size in (("s", 3600), ("min", 60)):
        if hours * size < 100:
            return f"{_format_figure(hours * size)} {unit}"
    return f"{_format_figure(hours)} h"


COLUMNS = (
    Column("variant"),
    Number("parameters", "parameters (M)", ".2f", unit=1e6),
    Number("flops", "GFLOPs an image", ".4g", unit=1e9),
    Number("hours", "a training", lambda row: _format_hours(row["hours"])),
    Number("memory", "memory (GB)", lambda row: _format_figure(row["memory"] / 1e9)),
    Column("how", "time and memory by"),
)


def summarize_profile(settings: schema.Params, profile: str, frame: pd.DataFrame) -> dict[str, str]:
    """Return the row of a profile in the first table."""
    seeds, data = len(settings.view(profile).seeds), describe_data(settings, profile)
    runs = seeds * len(frame)
    hours = frame.groupby("how", sort=False)["hours"].sum() * seeds
    weights = int(frame["trained"].sum()) * FLOAT * seeds
    disk = data.prepared if settings.profiles[profile].prepare.decode else 0
    estimate = "" if data.exact else " (estimate)"
    evaluations = runs + len(settings.checkpoints) * (profile == settings.profile)
    return {
        "profile": profile,
        "trainings": f"{runs}",
        "evaluations": f"{evaluations}",
        "time in all": "; ".join(f"{_format_hours(total)} ({how})" for how, total in hours.items()),
        "memory (GB)": _format_figure(frame["memory"].max() / 1e9),
        "prepared data (GB)": _format_figure(disk / 1e9) + estimate,
        "features (GB)": _describe_features(settings.profiles[profile], data),
        "weights (GB)": _format_figure(weights / 1e9),
    }


def _describe_features(profile: schema.Profile, data: Data) -> str:
    """Return what the maps of a frozen backbone take, or would take, on the disk."""
    if not profile.network.freeze:
        return "-"
    depth = sum(count_channels(profile.network.model_dump()))
    positions = data.height * data.width // profile.network.output_stride**2
    size = 2 * VIEWS * (data.train + data.val) * positions * depth  # in half precision
    kept = "" if profile.features.cache else ", not kept"
    return _format_figure(size / 1e9) + kept


def build_page(settings: schema.Params, counts: dict[str, dict[str, Needs]]) -> str:
    """Return the text of reports/plan.md."""
    names = [settings.profile, *(p for p in settings.profiles if p != settings.profile)]
    frames = {name: tabulate_trainings(settings, name, counts[name]) for name in names}
    lines = pd.DataFrame(
        [summarize_profile(settings, name, frame) for name, frame in frames.items()]
    )
    plan, train, data = (
        settings.plan,
        settings.active.train,
        describe_data(settings, settings.profile),
    )
    parts = [
        f"# Plan: profile `{settings.profile}`",
        f"{len(settings.rows)} variants with {len(settings.seeds)} seeds each.",
        str(lines.to_markdown(index=False, disable_numparse=True)),
        f"## A training of `{settings.profile}`",
        to_markdown(Table(frames[settings.profile], COLUMNS)),
        "*measured step*: the seconds of a step in the profile's networks.json times the "
        "iterations, and its peak memory with the weights. *predicted*: nothing of it was "
        f"measured. The time is {PASSES} times the operations of a forward pass, times batch "
        "and iterations, at "
        f"{plan.utilisation:.0%} of what is assumed of {plan.device}: {plan.tflops.bfloat16:g} "
        f"TFLOP/s in bfloat16, {plan.tflops.tf32:g} in TensorFloat32, {plan.tflops.float32:g} in "
        "float32; these are assumptions in params.yaml. The memory is what autograd keeps, of what "
        "one process takes at once, with weights, gradients and optimizer state; work space comes "
        "on top. GFLOPs are of a forward pass in training, two a multiply-add. *features*: the "
        "maps of a frozen backbone, which "
        "the profile keeps or not. 1 GB is 10^9 bytes.",
    ]
    off = frames[settings.profile].query("measured")["off"]
    if len(off):
        parts.append(
            f"For these networks the measured memory is {off.min():.1f} to {off.max():.1f} times "
            "what the closed form predicts."
        )
    pixels = data.val * data.height * data.width
    crop = train.augment.crop[0] * train.augment.crop[1]
    share = pixels / (PASSES * crop * train.batch_size * train.iterations)
    parts.append(
        f"Evaluations are not in the time: one of whole images at one scale has about "
        f"{share:.1%} of a training's operations."
    )
    return "\n\n".join(parts) + "\n"


def main() -> None:
    settings = params.load()
    text = build_page(settings, count_needs(settings))
    with whole_file(PLAN) as partial:
        partial.write_text(text, encoding="utf-8")
    print(text)
