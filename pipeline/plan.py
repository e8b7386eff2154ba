"""Stage plan: what the experiment will cost, told before anything long starts.

    python -m pipeline.plan

Counts on the meta device what every variant of every profile needs, computes nothing, and predicts
hours, memory and disk by the `plan` settings; where reports/networks.json has the measured step of
a network, that one is taken. Prints and writes reports/plan.md.
"""

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pipeline import datasets
from pipeline.common import cli, params
from pipeline.common.files import digest, read_json, whole_file
from pipeline.common.paths import NETWORKS
from pipeline.measuring.counting import training_needs
from pipeline.measuring.process import MEASURED, Row
from pipeline.preparing.space import CHANNELS

PLAN = Path("reports/plan.md")
PASSES = 3  # a forward pass, and a backward pass of twice its operations
FLOAT = 4  # bytes of a weight, of its gradient and of each of its optimizer's values


class Data(NamedTuple):
    """A dataset as published; the size is every image's, or a mean that is only an estimate."""

    train: int
    val: int
    height: int
    width: int
    exact: bool = True

    @property
    def prepared(self) -> int:
        """Bytes of the prepared images and labels."""
        return (self.train + self.val) * self.height * self.width * CHANNELS


def data_of(settings: params.Params, profile: str) -> Data:
    """The dataset of a profile; the drawn one by the scene's settings."""
    active, drawn = profile == settings.profile, profile == params.EMBEDDED.name
    if settings.embedded if active else drawn:
        scene = settings.scene
        return Data(scene.train, scene.val, scene.height, scene.width)
    dataset = datasets.DATASETS[settings.profiles[profile].dataset]
    images = dataset.published
    return Data(images["train"], images["val"], *dataset.size, exact=not dataset.sizes_differ)


def count(settings: params.Params) -> dict[str, Row]:
    """What a training needs, by profile and variant; networks that are alike are counted once."""
    found: dict[str, Row] = {}
    counts: dict[str, Row] = {}
    backbones: dict[str, Any] = {}
    for profile, own in settings.profiles.items():
        classes = len(datasets.DATASETS[own.dataset].classes)
        counts[profile] = {}
        for variant in settings.variants:
            network = settings.network(variant, profile) | {"weights": None}
            key = digest([network, classes, own.train.model_dump(mode="json")])
            if key not in found:
                found[key] = training_needs(network, classes, own.train, backbones)
            counts[profile][variant] = found[key]
    return counts


def measured_step(profile: str, variant: str, train: params.Train, parameters: int) -> Row | None:
    """The measured training step of this network with this batch, with its device, if there is."""
    if not NETWORKS.exists():
        return None
    file = read_json(NETWORKS)
    wanted = (profile, variant, "step", list(train.augment.crop), train.at_a_time, parameters)
    keys = ("profile", "variant", "pass", "size", "batch", "parameters")
    for row in file["networks"]:
        if tuple(row[k] for k in keys) == wanted and row["status"] == MEASURED:
            return dict(row) | {"device": file["environment"]["device"]}
    return None


def predict(plan: params.Plan, train: params.Train, need: Row) -> tuple[float, float]:
    """Seconds and peak bytes of a training by closed form."""
    precision = "float32" if train.precision == "float32" else "bfloat16"
    rate = getattr(plan.tflops, precision) * 1e12 * plan.utilisation
    seconds = PASSES * need["flops"] * train.batch_size * train.iterations / rate
    optimizer = train.optimizer
    values = 2 if optimizer.name == "adamw" else int(bool(optimizer.momentum))
    state = need["parameters"] * FLOAT * (2 + values)  # weights, gradients, the optimizer's
    return seconds, state + train.at_a_time * need["saved_bytes"]


def trainings(settings: params.Params, profile: str, counts: dict[str, Row]) -> pd.DataFrame:
    """A row a variant: what one training of the profile takes, and how that is known."""
    train, rows = settings.profiles[profile].train, []
    for variant, need in counts.items():
        seconds, predicted = predict(settings.plan, train, need)
        memory = predicted
        how = f"predicted for {settings.plan.device}"
        step = measured_step(profile, variant, train, need["parameters"])
        if step:
            seconds = step["seconds"] * train.iterations * train.batch_size / train.at_a_time
            memory = step["peak_bytes"] + FLOAT * need["parameters"]
            how = f"measured step, {step['device']}"
        row = {"variant": variant, "parameters": need["parameters"], "flops": need["flops"]}
        row |= {"hours": seconds / 3600, "memory": memory, "how": how}
        rows.append(row | {"measured": bool(step), "off": memory / predicted})
    return pd.DataFrame(rows)


def _figure(value: float) -> str:
    """Two figures, or all before the point."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _time(hours: float) -> str:
    """In seconds, minutes or hours."""
    for unit, size in (("s", 3600), ("min", 60)):
        if hours * size < 100:
            return f"{_figure(hours * size)} {unit}"
    return f"{_figure(hours)} h"


def shown(frame: pd.DataFrame) -> str:
    """The trainings of a profile as a person reads them."""
    columns = {
        "variant": frame["variant"],
        "parameters (M)": (frame["parameters"] / 1e6).map("{:.2f}".format),
        "GFLOPs an image": (frame["flops"] / 1e9).map("{:.4g}".format),
        "a training": frame["hours"].map(_time),
        "memory (GB)": (frame["memory"] / 1e9).map(_figure),
        "time and memory by": frame["how"],
    }
    return str(pd.DataFrame(columns).to_markdown(index=False, disable_numparse=True))


def summary(settings: params.Params, profile: str, frame: pd.DataFrame) -> Row:
    """A profile in one line."""
    seeds, data = len(settings.seeds), data_of(settings, profile)
    runs = seeds * len(frame)
    hours = frame.groupby("how", sort=False)["hours"].sum() * seeds
    weights = int(frame["parameters"].sum()) * FLOAT * seeds
    disk = data.prepared if settings.profiles[profile].prepare.decode else 0
    estimate = "" if data.exact else " (estimate)"
    evaluations = runs + len(settings.checkpoints) * (profile == settings.profile)
    return {
        "profile": profile,
        "trainings": f"{runs}",
        "evaluations": f"{evaluations}",
        "time in all": "; ".join(f"{_time(total)} ({how})" for how, total in hours.items()),
        "memory (GB)": _figure(frame["memory"].max() / 1e9),
        "prepared data (GB)": _figure(disk / 1e9) + estimate,
        "weights (GB)": _figure(weights / 1e9),
    }


def page(settings: params.Params, counts: dict[str, dict[str, Row]]) -> str:
    """reports/plan.md."""
    names = [settings.profile, *(p for p in settings.profiles if p != settings.profile)]
    frames = {name: trainings(settings, name, counts[name]) for name in names}
    lines = pd.DataFrame([summary(settings, name, frame) for name, frame in frames.items()])
    plan, train, data = settings.plan, settings.active.train, data_of(settings, settings.profile)
    parts = [
        f"# Plan: profile `{settings.profile}`",
        f"{len(settings.variants)} variants with {len(settings.seeds)} seeds each.",
        str(lines.to_markdown(index=False, disable_numparse=True)),
        f"## A training of `{settings.profile}`",
        shown(frames[settings.profile]),
        "*measured step*: the seconds of a step in reports/networks.json times the iterations, and "
        "its peak memory with the weights. *predicted*: nothing of it was measured. The time is "
        f"{PASSES} times the operations of a forward pass, times batch and iterations, at "
        f"{plan.utilisation:.0%} of what is assumed of {plan.device}: {plan.tflops.bfloat16:g} "
        f"TFLOP/s in bfloat16, {plan.tflops.float32:g} in float32; these are assumptions in "
        "params.yaml. The memory is what autograd keeps, of what one process takes at once, with "
        "weights, gradients and optimizer state; work space comes on top. GFLOPs are of a forward "
        "pass in training, two a multiply-add. 1 GB is 10^9 bytes.",
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
    text = page(settings, count(settings))
    with whole_file(PLAN) as partial:
        partial.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    cli.run(main)
