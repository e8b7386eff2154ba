"""The closed forms against PyTorch's own counter, and the authors' way of counting."""

import itertools

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from ann import NORMALIZATIONS, BlockOptions, NonLocalBlock, Sampler
from ann.cost import Cost, authors_count, block_cost, total
from tests.conftest import ROOT

C, LOW, K, V, HEIGHT, WIDTH, BATCH = 64, 48, 24, 32, 9, 11, 2
PUBLISHED = yaml.safe_load((ROOT / "reports/published.yaml").read_text(encoding="utf-8"))[
    "efficiency"
]


def block(low: int | None, sampling: str | None, **options: object) -> NonLocalBlock:
    shared = low is not None and options.get("share_key_value", True)
    return NonLocalBlock(
        C,
        low_channels=low,
        key_channels=K,
        value_channels=K if shared else V,
        sampler=Sampler(sampling, [1, 3, 4]) if sampling else None,
        options=BlockOptions(**options),  # type: ignore[arg-type]
    ).eval()


def batched_product(_: object, left: list[int], right: list[int], **__: object) -> int:
    return 2 * left[0] * left[1] * left[2] * right[2]


def counted(made: NonLocalBlock, batch: int = BATCH) -> dict[str, int]:
    """The operations that the counter sees, by module; `attention` is what is in none."""
    maps = [torch.zeros(batch, C, HEIGHT, WIDTH)]
    if made.fuses:
        maps.append(torch.zeros(batch, LOW, HEIGHT, WIDTH))
    in_place = {torch.ops.aten.baddbmm_: batched_product}  # which the counter does not know
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        made(*maps)
    found = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    parts = {
        name: found.get(f"NonLocalBlock.{name}", 0)
        for name in ("query", "key", "value", "sampler", "output", "fuse")
    }
    return {**parts, "attention": found["NonLocalBlock"] - sum(parts.values())}


def sampled(made: NonLocalBlock, channels: int) -> int:
    """The counter's operations of sampling a map, which the closed form leaves out."""
    if made.sampler is None:
        return 0
    with FlopCounterMode(display=False) as counter:
        made.sampler([torch.zeros(1, channels, HEIGHT, WIDTH)])
    return counter.get_total_flops()


@pytest.mark.parametrize("low", [None, LOW])
@pytest.mark.parametrize("sampling", [None, "pyramid_average", "pyramid_max", "pyramid_random"])
def test_the_plain_forms_operations_are_those_that_a_counter_sees(
    low: int | None, sampling: str | None
) -> None:
    for output, norm, shared in itertools.product(("concat", "residual"), *[(True, False)] * 2):
        options = {"share_query_key": shared, "share_key_value": shared, "embedding_norm": norm}
        made = block(low, sampling, output=output, form="plain", **options)
        seen, closed = counted(made), block_cost(made, HEIGHT, WIDTH, batch=BATCH)
        for name in ("query", "key", "value", "output"):
            assert closed[name].flops == seen[name], (name, options)
        assert closed["fusing"].flops == seen["fuse"]
        assert closed["similarity"].flops + closed["aggregation"].flops == seen["attention"]
        assert total(closed).flops == sum(seen.values()) - seen["sampler"]


def test_bytes_of_a_block_by_hand() -> None:
    n, s = HEIGHT * WIDTH, 26
    made = block(None, "pyramid_average", output="residual", form="plain")
    closed = block_cost(made, HEIGHT, WIDTH, element_size=2)
    assert closed["similarity"] == Cost(2 * n * K * s, 2 * (n * K + K * s), 2 * n * s)
    assert closed["sampling"] == Cost(0, 2 * n * (K + V), 2 * s * (K + V))
    assert closed["fusing"] == Cost(0, 4 * n * C, 2 * n * C)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("sampling", [None, "pyramid_average", "pyramid_max", "pyramid_random"])
def test_the_fast_forms_operations_are_those_that_a_counter_sees(
    sampling: str | None, normalization: str
) -> None:
    for low, output, norm, shared in itertools.product(
        (None, LOW), ("concat", "residual"), *[(True, False)] * 2
    ):
        options = {"share_query_key": shared, "share_key_value": shared, "embedding_norm": norm}
        made = block(low, sampling, output=output, normalization=normalization, **options)
        seen, closed = counted(made, batch=1), block_cost(made, HEIGHT, WIDTH)
        averaging = sampled(made, closed["sampling"].read // (HEIGHT * WIDTH * 4))
        assert total(closed).flops == sum(seen.values()) - averaging, (low, output, options)


@pytest.mark.parametrize("output", ["concat", "residual"])
@pytest.mark.parametrize("low", [None, LOW])
def test_the_fast_form_writes_nothing_quadratic_and_costs_no_more(
    output: str, low: int | None
) -> None:
    def cost(form: str, sampling: str | None, height: int) -> Cost:
        made = block(low, sampling, output=output, form=form)
        return total(block_cost(made, height, 64))

    for sampling in (None, "pyramid_average"):
        assert cost("fast", sampling, 64).flops <= cost("plain", sampling, 64).flops
        assert cost("fast", sampling, 64).written < cost("plain", sampling, 64).written
    assert cost("fast", None, 128).written < 2.01 * cost("fast", None, 64).written
    assert cost("plain", None, 128).written > 3.9 * cost("plain", None, 64).written


def test_the_published_gflops_come_out_under_the_authors_count() -> None:
    for row in PUBLISHED["rows"]:
        if "gflops" in row:
            height, width = row["input"]
            assert round(authors_count(height * width, 2048, 256) / 1e9, 1) == row["gflops"]
