"""`make bench`: the fast form against the plain one, side by side in one process.

Both forms take turns, so that a slow moment of the machine meets both. The ratio of the medians is
printed with each case and stands in the benchmark's extra_info, as does that of the peaks of the
tensors' memory that PyTorch's profiler counts, beyond inputs and weights. "recompute" is the fast
form with that option.
"""

import time
from statistics import median
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from ann import BlockOptions, NonLocalBlock, Sampler

# The released code's choices, which is what the plain form then costs.
RELEASED = {"share_query_key": True, "share_key_value": False, "embedding_norm": True}
TURNS = 5

APNB = [(512, 96, 96), (2048, 96, 96), (512, 128, 256)]
CASES = [
    *(("apnb", c, None, h, w, "forward+backward") for c, h, w in APNB),
    ("afnb", 2048, 1024, 96, 96, "forward+backward"),
    ("nb", 512, None, 96, 96, "forward"),
    ("nb", 512, None, 96, 96, "forward+backward"),
    ("fnb", 512, 256, 96, 96, "forward"),
    ("nb", 512, None, 128, 256, "forward"),
]


def call(
    form: str,
    kind: str,
    channels: int,
    low: int | None,
    height: int,
    width: int,
    passes: str,
    **options: Any,
) -> Any:
    torch.manual_seed(0)
    block = NonLocalBlock(
        channels,
        key_channels=256,
        value_channels=256,
        low_channels=low,
        sampler=Sampler("pyramid_average", [1, 3, 6, 8]) if kind[0] == "a" else None,
        options=BlockOptions(form=form, scale=True, **RELEASED, **options),  # type: ignore[arg-type]
        relu=low is None,
    )
    shapes = [(1, c, height, width) for c in (channels, low) if c]
    maps = [torch.randn(shape).requires_grad_() for shape in shapes]
    wanted = [*maps, *block.parameters()]
    grad = torch.randn(shapes[0])

    def forward() -> None:
        with torch.no_grad():
            block(*maps)

    def backward() -> None:
        torch.autograd.grad(block(*maps), wanted, grad)

    return forward if passes == "forward" else backward


def peak_bytes(run: Any) -> int:
    """The most that tensors took at a time."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        run()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(str(x) for x in c if x))
def test_fast_against_plain(case: tuple[Any, ...], benchmark: BenchmarkFixture) -> None:
    torch.set_num_threads(2)
    calls = {"plain": call("plain", *case), "fast": call("fast", *case)}
    if case[-1] != "forward":
        calls["recompute"] = call("fast", *case, recompute=True)
    peaks = {name: peak_bytes(run) for name, run in calls.items()}  # warms up as well
    seconds: dict[str, list[float]] = {name: [] for name in calls}

    def turn() -> None:
        for name, run in calls.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)

    benchmark.pedantic(turn, rounds=TURNS)
    print()
    for name in list(calls)[1:]:
        duration = median(seconds[name]) / median(seconds["plain"])
        memory = peaks[name] / peaks["plain"]
        benchmark.extra_info[name] = {"time": round(duration, 3), "memory": round(memory, 3)}
        print(f"{name} / plain: time {duration:.2f}, peak memory {memory:.2f}")
