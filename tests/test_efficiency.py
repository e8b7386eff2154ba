"""What is measured, what is not and why, and what the tables and figures make of it."""

import math
import os
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from ann import BlockOptions, NonLocalBlock, Sampler
from pipeline.measuring import clock
from pipeline.measuring.operations import operation_seconds
from pipeline.measuring.process import NotFittingError, measure_series, run_in_process
from pipeline.reporting.columns import Table
from pipeline.reporting.figures import costs, style
from pipeline.reporting.tables import blocks, networks
from pipeline.settings import params, records
from pipeline.settings.costs import Mode
from pipeline.stages import efficiency
from pipeline.stages.networks import count_networks, list_jobs
from tests import recorded
from tests.conftest import ROOT

SETTINGS = params.load(ROOT / "params.yaml")
PUBLISHED = yaml.safe_load((ROOT / "reports/published.yaml").read_text(encoding="utf-8"))[
    "efficiency"
]


class Job(NamedTuple):
    """A measurement of which it is known what happens."""

    then: str
    flops: int = 1


def outcome(job: Job) -> records.Measurement:
    """Stands for a measurement: what the job says happens."""
    match job.then:
        case "sleep":
            time.sleep(30)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "need":
            clock.require_memory(1e18, "cpu")
        case "allocate":
            torch.empty(1 << 60)
        case "fail":
            raise ValueError("a mistake")
    return recorded.measurement(float(job.then))


def test_a_measurement_is_made_over_or_does_not_fit() -> None:
    start = time.monotonic()
    told = {
        then: run_in_process(outcome, Job(then), limit=1).status
        for then in ("1.5", "sleep", "killed", "need", "allocate")
    }
    assert told == {
        "1.5": "measured",
        "sleep": "over",
        "killed": "not fitting",
        "need": "not fitting",
        "allocate": "not fitting",
    }
    assert time.monotonic() - start < 10
    with pytest.raises(RuntimeError, match="a mistake"):
        run_in_process(outcome, Job("fail"), limit=1)
    with pytest.raises(NotFittingError):
        clock.require_memory(1e18, "cpu")


@pytest.mark.parametrize(
    ("then", "statuses"),
    [
        (["1", "2", "3"], ["measured"] * 3),
        (["1", "need", "3"], ["measured", "not fitting", "not fitting"]),
        (["6", "fail", "fail"], ["measured", "over", "over"]),  # 10 times 6 s is over the limit
    ],
)
def test_beyond_a_size_that_is_not_measured_none_is_tried(
    then: list[str], statuses: list[str]
) -> None:
    jobs = [Job(t, 10**i) for i, t in enumerate(then)]
    rows = measure_series(jobs[::-1], outcome, limit=30)
    assert [job for job, _ in rows] == jobs
    assert [found.status for _, found in rows] == statuses


def test_the_first_call_is_small_and_fits_every_context() -> None:
    wanted = ("ann", "aspp")
    jobs = {j.variant: j for j in list_jobs(SETTINGS) if j.profile == "cityscapes"}
    ann, aspp = count_networks([jobs[name] for name in wanted])
    assert ann.warm_up == (128, 128)
    rates = jobs["aspp"].network["settings"]["rates"]
    size = aspp.warm_up
    assert max(rates) < min(size) // 8  # a position of the map is 8 pixels wide
    assert max(size) < min(jobs["aspp"].size)


def test_memory_and_time_of_a_call_whose_needs_are_known() -> None:
    size = 64 << 20

    def touch() -> records.Measurement:
        def call() -> None:
            time.sleep(0.05)
            bytearray(b"x" * size)  # twice: the literal's copy and the array

        return clock.measure(call, "cpu", repeats=3, seconds=10)

    found = run_in_process(touch, limit=20).require()
    assert found.repeats == 3
    assert 0.05 < found.seconds < 2
    assert 2 * size * 0.95 < found.peak_bytes < 2 * size * 1.2


def test_a_block_is_measured_with_the_operations_of_its_closed_form() -> None:
    settings = SETTINGS.efficiency.model_copy(
        update={"channels": 16, "embedded_channels": 8, "low_channels": 8, "seconds": 0.01}
    )
    mode = Mode(device="cpu", precision="float32", channels_last=False)
    for block in efficiency.BLOCKS:
        job = efficiency.Job(settings, mode, block, "plain", (9, 8))
        made = efficiency.build_block(job, "cpu")
        assert made.fuses == (block in ("fnb", "afnb"))
        assert (made.sampler is not None) == (block in ("apnb", "afnb"))
        assert made.output.out_channels == 16
        assert job.flops == sum(c.flops for c in efficiency.count_costs(job).values())
    huge = efficiency.Job(SETTINGS.efficiency, mode, "nb", "plain", (2048, 4096))
    with pytest.raises(NotFittingError):
        efficiency.measure_block(huge)


def test_the_time_of_each_operation_goes_to_its_group() -> None:
    sampler = Sampler("pyramid_average", [1, 3, 6])
    options = BlockOptions(output="residual", form="plain")
    for made in (
        NonLocalBlock(32, key_channels=8, value_channels=8, options=options),
        NonLocalBlock(32, key_channels=8, value_channels=8, sampler=sampler, options=options),
    ):
        x = torch.randn(1, 32, 12, 12)
        groups = operation_seconds(lambda made=made, x=x: made(x), "cpu", made.sampler)
        expected = {"convolutions", "matrix products", "softmax", "other"}
        expected |= {"sampling"} if made.sampler else set()
        assert {name for name, seconds in groups.items() if seconds > 0} == expected


def test_exponents_are_fitted_over_the_last_sizes() -> None:
    n = np.array([10, 100, 1000, 10000])
    frame = pd.DataFrame({"device": "d", "block": "nb", "form": "plain", "positions": n, "fit": 3})
    frame["ms"] = np.where(n < 50, 1e9, 3 * n**1.7)  # the first is off the line
    frame["mb"] = 5.0 * n
    fitted = costs.fit_exponents(frame).iloc[0]
    assert fitted["ms_exponent"] == pytest.approx(1.7)
    assert fitted["mb_exponent"] == pytest.approx(1.0)
    assert math.isnan(costs.fit_exponent(frame["positions"][:1], frame["ms"][:1], 3))


OVER: dict[str, Any] = {"status": "over", "measured": None}
QUICK = recorded.measurement(0.2, 10**8).model_dump()


def machine(settings: dict[str, Any] | None = None, **changes: Any) -> records.BlockCosts:
    """A machine's file, with times and bytes that follow a rule."""
    rows: list[dict[str, Any]] = []
    for size, form, block in [
        (s, f, b) for s in ([96, 96], [256, 128]) for f in ("plain", "fast") for b in ("nb", "apnb")
    ]:
        for call in efficiency.CALLS:
            measured = recorded.measurement(
                {"nb": 0.6, "apnb": 0.2}[block], {"plain": 10**9, "fast": 10**8}[form]
            )
            row = {
                "device": "a device",
                "block": block,
                "form": form,
                "call": call,
                "size": size,
                "precision": "float32",
                "channels_last": False,
                "flops": 10**12,
                "bytes": 1,
                "status": "measured",
                "measured": measured.model_dump(),
            }
            rows.append(row | changes.get(f"{block} {form} {call} {size[0]}", {}))
    times = {"seconds": 0.5, "repeats": 1, "operations": {"softmax": 0.5}}
    operations = [row | {"measured": times} for row in rows[:1]]
    known = {"channels": 2048, "embedded_channels": 256, "limit": 20.0} | (settings or {})
    return recorded.changed(
        records.read(records.BlockCosts, ROOT / "reports/efficiency/stage.json"),
        {f"settings.{key}": value for key, value in known.items()}
        | {"blocks": rows, "curve": rows, "operations": operations},
    )


def test_the_table_has_both_counts_the_papers_figures_and_says_what_is_missing() -> None:
    file = machine(
        **{
            "nb plain forward 256": OVER,
            "nb plain forward+backward 256": OVER | {"status": "not fitting"},
        }
    )
    shown = Table(blocks.build_frame([file], PUBLISHED), blocks.COLUMNS).format_cells()
    nb = shown[(shown["block"] == "NB") & (shown["form"] == "plain")].set_index("input")
    assert nb["authors' count"].to_dict() == {"96x96": "58.0", "256x128": "601.4"}
    assert nb["paper GFLOPs"].to_dict() == {"96x96": "58.0†", "256x128": "601.4†"}
    assert nb.loc["256x128", ["fwd ms", "fwd+bwd MB"]].tolist() == ["over 20 s", "does not fit"]
    assert nb.loc["96x96", ["fwd ms", "fwd MB", "GFLOPs"]].tolist() == ["600.0", "1000", "1000.0"]
    assert set(shown[shown["form"] == "fast"]["paper ms"]) == {""}
    other = blocks.build_frame([machine({"channels": 512})], PUBLISHED)
    assert other["published_ms"].isna().all()  # not the paper's block


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "yes, in time. At 256x128 NB with fused attention takes 3 times the time"),
        ({"nb fast forward 256": {"measured": QUICK}}, "no. At 256x128 NB with fused attention"),
        ({"nb fast forward 256": OVER}, "yes, in time. At 96x96"),
        (
            {"nb plain forward 256": OVER},
            "The ratios of the plain forms are not measured there.",
        ),
    ],
)
def test_the_answer_follows_from_the_measured_ratios(
    changes: dict[str, Any], sentence: str
) -> None:
    words = blocks.answer_question(blocks.build_frame([machine(**changes)], PUBLISHED))
    assert sentence in words.split(", fwd+bwd")[0]


def test_a_prediction_stands_beside_what_happened() -> None:
    own_row = {"profile": "p", "variant": "nb", "size": [8, 8], "batch": 2, "parameters": 7}
    own_row |= {"measured": recorded.measurement(0.5).model_dump()}
    paper = own_row | {"profile": "q", "batch": 1}
    rows = [row | {"call": call} for row in (own_row, paper) for call in ("forward", "step")]
    shape = {"profile": "p", "crop": [8, 8], "iterations": 100}
    file = recorded.networks(*rows, **shape)
    speed = {"seconds": 30.0, "iterations": 50, "peak_bytes": 4 * 10**6}  # was resumed
    changes = {f"record.speed.{key}": value for key, value in speed.items()}
    run = recorded.run("nb", 0, 0.5, **changes, **{"record.profile": "p"})
    own, other = networks.build_frame(file, {"nb": [run]}).to_dict("records")
    assert own["step_images_a_second"] == 4
    assert own["predicted_seconds"] == 50
    assert own["trained_to_predicted"] == pytest.approx(1.2)
    assert own["trained_mb"] == 4
    assert math.isnan(other["predicted_seconds"])


def test_figures_are_the_same_bytes_again(tmp_path: Path) -> None:
    frame = costs.list_operations([machine()])
    for name in ("one", "two"):
        style.save(costs.draw_operations(frame), frame, tmp_path / name, "a source")
    one, two = ((tmp_path / f"{name}.svg").read_bytes() for name in ("one", "two"))
    assert one == two
    assert b"a device" in one
    assert b"a source" in one
