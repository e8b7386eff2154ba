"""Stage efficiency: measure the blocks' cost on this machine, as in the paper's efficiency table.

    python -m pipeline efficiency [NAME]

It measures three things, each in its own process, one at a time:

- NB, APNB, FNB and AFNB in the plain and the fast form, forward and forward with backward
- the time of each operation
- the cost for several numbers of positions

It writes reports/efficiency/NAME.json. The stage's own NAME is `stage`. Files of other machines may
lie beside it, and the tables and figures show all of them.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from typing import Literal, get_args

import torch
from torch import Tensor

from ann import BlockOptions, NonLocalBlock, Sampler
from ann.cost import Cost, block_cost, total
from pipeline.engine import errors, provenance
from pipeline.engine.progress import Reporter
from pipeline.measuring import clock
from pipeline.measuring.operations import operation_seconds
from pipeline.measuring.process import MEASURED, measure_series, run_in_process
from pipeline.settings import costs, params, records
from pipeline.settings.paths import EFFICIENCY
from pipeline.settings.records import (
    BlockCost,
    BlockCosts,
    BlockRow,
    Measurement,
    OperationCost,
    OperationTimes,
    Status,
)

Block = Literal["nb", "apnb", "fnb", "afnb"]
Form = Literal["plain", "fast"]
Call = Literal["forward", "forward+backward"]
BLOCKS: tuple[Block, ...] = get_args(Block)
FORMS: tuple[Form, ...] = get_args(Form)
CALLS: tuple[Call, ...] = get_args(Call)
POSITION_BLOCKS: tuple[Block, ...] = ("nb", "apnb")  # in the figures
_WARM_UP = 24  # the side of the first call's small maps


@dataclass(frozen=True)
class Job:
    """A block to measure with these settings: one call on a map of a size (height, width)."""

    settings: costs.Efficiency
    mode: costs.Mode
    block: Block
    form: Form
    size: tuple[int, int]
    call: Call = "forward"

    @cached_property
    def cost(self) -> Cost:
        """The cost of the forward pass in closed form."""
        return total(count_costs(self))

    @property
    def flops(self) -> int:
        """The operations of the forward pass, two for a multiply-add."""
        return self.cost.flops

    @property
    def estimated_bytes(self) -> int:
        """The bytes that the call needs at least."""
        return (1 if self.call == "forward" else 2) * self.cost.written


def build_block(job: Job, device: str) -> NonLocalBlock:
    """Build the block of a job on a device."""
    fuses, samples = job.block.endswith("fnb"), job.block.startswith("a")
    s = job.settings
    with torch.device(device):
        return NonLocalBlock(
            s.channels,
            low_channels=s.low_channels if fuses else None,
            key_channels=s.embedded_channels,
            value_channels=s.embedded_channels,
            sampler=Sampler(s.sampling, s.pool_sizes) if samples else None,
            options=BlockOptions(**s.options.model_dump(), form=job.form),
        )


def count_costs(job: Job) -> dict[str, Cost]:
    """Return the cost of each operation of the forward pass in closed form."""
    size = 4 if job.mode.precision == "float32" else 2
    return block_cost(build_block(job, "meta"), *job.size, element_size=size)


def make_inputs(job: Job, size: tuple[int, int]) -> tuple[NonLocalBlock, list[Tensor]]:
    """Build the block of a job, and random maps of a size (height, width)."""
    torch.manual_seed(0)
    device, dtype = job.mode.device, getattr(torch, job.mode.precision)
    layout = torch.channels_last if job.mode.channels_last else torch.contiguous_format
    block = build_block(job, device).to(dtype=dtype, memory_format=layout)  # type: ignore[call-overload]
    block.train(job.call != "forward")
    widths = [job.settings.channels, *([job.settings.low_channels] if block.fuses else [])]
    maps = [torch.randn(1, width, *size, device=device) for width in widths]
    return block, [x.to(dtype=dtype, memory_format=layout) for x in maps]


def make_call(job: Job, size: tuple[int, int]) -> clock.Call:
    """Return the call to measure: forward, or forward and backward to weights and maps."""
    block, maps = make_inputs(job, size)
    if job.call == "forward":
        return torch.inference_mode()(lambda: block(*maps))
    for x in maps:
        x.requires_grad_()
    gradient = torch.randn_like(maps[0])

    def both() -> None:
        block(*maps).backward(gradient)
        for x in (*maps, *block.parameters()):
            x.grad = None

    return both


def measure_block(job: Job) -> Measurement:
    """Measure time and memory of a block, in its own process."""
    settings, device = job.settings, job.mode.device
    clock.set_up_torch(settings.threads, device)
    clock.require_memory(job.estimated_bytes, device)
    make_call(job, _choose_warm_up(job))()
    call = make_call(job, job.size)
    return clock.measure(call, device, repeats=settings.repeats, seconds=settings.seconds)


def measure_operations(job: Job) -> OperationTimes:
    """Measure the seconds of each operation of a forward pass, and return the median call's."""
    settings, device = job.settings, job.mode.device
    clock.set_up_torch(settings.threads, device)
    clock.require_memory(job.estimated_bytes, device)
    block, maps = make_inputs(job, _choose_warm_up(job))
    block(*maps)
    block, maps = make_inputs(job, job.size)
    calls: list[dict[str, float]] = []
    spent = 0.0
    while not calls or (len(calls) < settings.repeats and spent < settings.seconds):
        calls.append(operation_seconds(partial(block, *maps), device, block.sampler))
        spent += sum(calls[-1].values())
    groups = sorted(calls, key=lambda call: sum(call.values()))[len(calls) // 2]
    return OperationTimes(seconds=sum(groups.values()), repeats=len(calls), operations=groups)


def _choose_warm_up(job: Job) -> tuple[int, int]:
    side = max(_WARM_UP, *job.settings.pool_sizes)
    height, width = job.size
    return min(height, side), min(width, side)


def list_block_series(settings: costs.Efficiency, mode: costs.Mode) -> list[list[Job]]:
    """List the jobs of the table: a series of sizes for each block, form and call."""
    return [
        [Job(settings, mode, block, form, size, call) for size in settings.sizes]
        for block, form, call in product(BLOCKS, FORMS, CALLS)
    ]


def list_curve_series(settings: costs.Efficiency, mode: costs.Mode) -> list[list[Job]]:
    """List the jobs of the figure of cost by positions, for NB and APNB."""
    curve = settings.curve
    widths = {"channels": curve.channels, "embedded_channels": curve.embedded_channels}
    own = settings.model_copy(update=widths)
    return [
        [Job(own, mode, block, form, size) for size in curve.sizes]
        for block, form in product(POSITION_BLOCKS, FORMS)
    ]


def list_operation_series(settings: costs.Efficiency, mode: costs.Mode) -> list[list[Job]]:
    """List the jobs of the figure of operation times, for NB and APNB in the plain form."""
    return [
        [Job(settings, mode, block, "plain", size) for size in settings.sizes]
        for block in POSITION_BLOCKS
    ]


_PLANS = {
    "blocks": list_block_series,
    "operations": list_operation_series,
    "curve": list_curve_series,
}


def measure_all(
    settings: costs.Efficiency, devices: dict[str, str]
) -> tuple[dict[str, list[BlockCost]], list[OperationCost]]:
    """Measure everything on the devices that are there.

    Args:
        settings: The `efficiency` settings.
        devices: The devices' names by their types.

    Returns:
        The rows of the table (`blocks`) and of the cost by positions (`curve`), and the times of
        the operations.
    """
    work = [
        (name, jobs)
        for mode in settings.modes
        if mode.device in devices
        for name, plan in _PLANS.items()
        for jobs in plan(settings, mode)
    ]
    costs: dict[str, list[BlockCost]] = {"blocks": [], "curve": []}
    operations: list[OperationCost] = []
    with Reporter("efficiency", len(work)) as reporter:
        for done, (name, jobs) in enumerate(work, 1):
            if name == "operations":
                operations += [
                    OperationCost(
                        **dict(_make_row(job, times.status, devices)), measured=times.result
                    )
                    for job, times in measure_series(jobs, measure_operations, settings.limit)
                ]
            else:
                costs[name] += [
                    BlockCost(**dict(_make_row(job, cost.status, devices)), measured=cost.result)
                    for job, cost in measure_series(jobs, measure_block, settings.limit)
                ]
            first = jobs[0]
            reporter.update(done, f"{name}: {first.block} {first.form} {first.call}")
    return costs, operations


def _make_row(job: Job, status: Status, devices: dict[str, str]) -> BlockRow:
    """Return the fields of a job that the report needs; the file has the settings once."""
    return BlockRow(
        device=devices[job.mode.device],
        block=job.block,
        form=job.form,
        call=job.call,
        size=job.size,
        precision=job.mode.precision,
        channels_last=job.mode.channels_last,
        flops=job.flops,
        bytes=job.cost.bytes,
        status=status,
    )


def main(name: str = "stage") -> None:
    if not name.isidentifier():
        raise errors.InputError(f"NAME must be letters, digits and _, got {name!r}")
    settings = params.load().efficiency
    devices = run_in_process(clock.device_names, limit=60).require()
    rows, operations = measure_all(settings, devices)
    costs = BlockCosts(
        version=1,
        settings=settings,
        code=records.Code(**provenance.read_code_version()),
        environment=records.Environment(**provenance.describe_machine(provenance.read_cpu_name())),
        blocks=rows["blocks"],
        operations=operations,
        curve=rows["curve"],
    )
    records.write(EFFICIENCY / f"{name}.json", costs)
    statuses = [
        row.status for part in (costs.blocks, costs.operations, costs.curve) for row in part
    ]
    count = statuses.count(MEASURED)
    print(f"{count} of {len(statuses)} calls are measured; see {EFFICIENCY}/{name}.json")
