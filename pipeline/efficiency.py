"""Stage efficiency: what the blocks cost on this machine, as in the paper's efficiency table.

    python -m pipeline.efficiency [NAME]

NB, APNB, FNB and AFNB in the plain and the fast form, forward and forward with backward; the time
of each operation; the cost against the number of positions. Every measurement is a process of its
own, one at a time. Writes reports/efficiency/NAME.json; the stage's is `stage`, and those of other
machines may lie beside it: the tables and figures show all.
"""

import sys
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from ann import BlockOptions, NonLocalBlock, Sampler
from ann.cost import Cost, block_cost, total
from pipeline.common import cli, params, provenance
from pipeline.common.files import write_json
from pipeline.common.paths import EFFICIENCY
from pipeline.common.progress import Reporter
from pipeline.measuring import clock
from pipeline.measuring.operations import operation_seconds
from pipeline.measuring.process import MEASURED, Row, fresh, series

BLOCKS = ("nb", "apnb", "fnb", "afnb")
FORMS = ("plain", "fast")
PASSES = ("forward", "forward+backward")
_WARM_UP = 24  # the side of the maps of a first, small call


def build(job: Row, device: str) -> NonLocalBlock:
    """The block of a job, on a device."""
    fuses, samples = job["block"].endswith("fnb"), job["block"].startswith("a")
    with torch.device(device):
        return NonLocalBlock(
            job["channels"],
            low_channels=job["low_channels"] if fuses else None,
            key_channels=job["embedded_channels"],
            value_channels=job["embedded_channels"],
            sampler=Sampler(job["sampling"], job["pool_sizes"]) if samples else None,
            options=BlockOptions(**job["options"] | {"form": job["form"]}),
        )


def costs(job: Row) -> dict[str, Cost]:
    """The forward pass by operation, in closed form."""
    size = 4 if job["precision"] == "float32" else 2
    return block_cost(build(job, "meta"), *job["size"], element_size=size)


def block_and_maps(job: Row, size: tuple[int, int]) -> tuple[NonLocalBlock, list[Tensor]]:
    """The block of a job, and random maps of a size."""
    torch.manual_seed(0)
    device = job["device"]
    layout = torch.channels_last if job["channels_last"] else torch.contiguous_format
    place: dict[str, Any] = {"dtype": getattr(torch, job["precision"]), "memory_format": layout}
    block = build(job, device).to(**place).train(job["pass"] != "forward")
    widths = [job["channels"], *([job["low_channels"]] if block.fuses else [])]
    return block, [torch.randn(1, width, *size, device=device).to(**place) for width in widths]


def call_of(job: Row, size: tuple[int, int]) -> clock.Call:
    """The call that is measured: forward, or forward and backward to weights and maps."""
    block, maps = block_and_maps(job, size)
    if job["pass"] == "forward":
        return torch.inference_mode()(lambda: block(*maps))
    for x in maps:
        x.requires_grad_()
    gradient = torch.randn_like(maps[0])

    def both() -> None:
        block(*maps).backward(gradient)
        for x in (*maps, *block.parameters()):
            x.grad = None

    return both


def measure_block(job: Row) -> Row:
    """Time and memory of a block, in a process that does no more."""
    clock.prepare(job["threads"])
    clock.need(job["estimated_bytes"], job["device"])
    call_of(job, _warm_up(job))()
    call = call_of(job, job["size"])
    return clock.measure(call, job["device"], repeats=job["repeats"], seconds=job["seconds"])


def measure_operations(job: Row) -> Row:
    """The seconds of each operation of a block's forward pass: of the call of median length."""
    clock.prepare(job["threads"])
    clock.need(job["estimated_bytes"], job["device"])
    block, maps = block_and_maps(job, _warm_up(job))
    block(*maps)
    block, maps = block_and_maps(job, job["size"])
    calls: list[dict[str, float]] = []
    spent = 0.0
    while not calls or (len(calls) < job["repeats"] and spent < job["seconds"]):
        calls.append(operation_seconds(partial(block, *maps), job["device"], block.sampler))
        spent += sum(calls[-1].values())
    groups = sorted(calls, key=lambda call: sum(call.values()))[len(calls) // 2]
    return {"seconds": sum(groups.values()), "operations": groups, "repeats": len(calls)}


def _warm_up(job: Row) -> tuple[int, int]:
    side = max(_WARM_UP, *job["pool_sizes"])
    height, width = job["size"]
    return min(height, side), min(width, side)


def job(settings: params.Efficiency, mode: params.Mode, **own: Any) -> Row:
    """All that a measurement needs, and its operations and estimated memory in closed form."""
    shared = settings.model_dump(exclude={"sizes", "curve", "modes", "limit"})
    made = shared | mode.model_dump() | {"pass": "forward"} | own
    cost = total(costs(made))
    passes = 1 if made["pass"] == "forward" else 2
    return made | {
        "flops": cost.flops,
        "bytes": cost.bytes,
        "estimated_bytes": passes * cost.written,
    }


def block_series(settings: params.Efficiency, mode: params.Mode) -> list[list[Row]]:
    """The table: a series of sizes for each block, form and pass."""
    return [
        [
            job(settings, mode, block=block, form=form, size=size, **{"pass": direction})
            for size in settings.sizes
        ]
        for block, form, direction in product(BLOCKS, FORMS, PASSES)
    ]


def curve_series(settings: params.Efficiency, mode: params.Mode) -> list[list[Row]]:
    """The figure of cost against N: NB and APNB."""
    curve = settings.curve
    own = {"channels": curve.channels, "embedded_channels": curve.embedded_channels}
    return [
        [job(settings, mode, block=block, form=form, size=size, **own) for size in curve.sizes]
        for block, form in product(("nb", "apnb"), FORMS)
    ]


def operation_series(settings: params.Efficiency, mode: params.Mode) -> list[list[Row]]:
    """The figure of operation times: NB and APNB in the plain form."""
    return [
        [job(settings, mode, block=block, form="plain", size=size) for size in settings.sizes]
        for block in ("nb", "apnb")
    ]


_MEASURES = {
    "blocks": (block_series, measure_block),
    "operations": (operation_series, measure_operations),
    "curve": (curve_series, measure_block),
}


def measure_all(settings: params.Efficiency, devices: Row) -> dict[str, list[Row]]:
    """The rows of the table and of the two figures, in this order."""
    work = [
        (name, jobs, measure)
        for mode in settings.modes
        if mode.device in devices
        for name, (plan, measure) in _MEASURES.items()
        for jobs in plan(settings, mode)
    ]
    found: dict[str, list[Row]] = {name: [] for name in _MEASURES}
    with Reporter("efficiency", len(work)) as reporter:
        for done, (name, jobs, measure) in enumerate(work, 1):
            found[name] += [_kept(row, devices) for row in series(jobs, measure, settings.limit)]
            first = jobs[0]
            reporter.update(done, f"{name}: {first['block']} {first['form']} {first['pass']}")
    return found


def _kept(row: Row, devices: Row) -> Row:
    """What the report needs of a row; the settings stand once in the file."""
    own = ("block", "form", "pass", "size", "precision", "channels_last", "flops", "bytes")
    found = ("seconds", "repeats", "peak_bytes", "memory_by", "operations")
    kept = {"device": devices[row["device"]], **{k: row[k] for k in own}, "status": row["status"]}
    return kept | {k: row[k] for k in found if k in row and row["status"] == MEASURED}


def main() -> None:
    if len(sys.argv) > 2 or not all(name.isidentifier() for name in sys.argv[1:]):
        raise cli.InputError("usage: python -m pipeline.efficiency [NAME]")
    settings = params.load().efficiency
    devices = fresh(clock.device_names, limit=60)
    name = sys.argv[1] if len(sys.argv) > 1 else "stage"
    rows = measure_all(settings, devices)
    about = {
        "settings": settings.model_dump(mode="json"),
        "code": provenance.code_version(),
        "environment": provenance.environment(provenance.cpu_name()),
    }
    write_json(EFFICIENCY / f"{name}.json", about | rows)
    told = [row["status"] for part in rows.values() for row in part]
    print(f"{told.count(MEASURED)} of {len(told)} calls are measured; see {EFFICIENCY}/{name}.json")


if __name__ == "__main__":
    cli.run(main)
