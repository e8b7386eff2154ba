"""Test the claims on the cost of blocks, on every device where they were measured."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.reporting.claims.entries import Claims, Ratio
from pipeline.reporting.claims.judging import Verdict
from pipeline.reporting.measured import Published
from pipeline.reporting.statistics import Interval
from pipeline.settings.records import BlockCost, BlockCosts, Measurement

TOLERANCE = 0.25  # a ratio of three quarters of the paper's still supports it


@dataclass(frozen=True)
class CostAnswer:
    """A ratio of costs on one device.

    Attributes:
        claim: The claim's name.
        test: The test.
        file: The measurements that it is from.
        device: The device's name.
        precision: The number type.
        ratio: The measured ratio, with the ratios of the extreme calls; nan if not measured.
        figure: The paper's ratio.
        verdict: What it says.
        reason: Why it is not measured; empty if it is.
    """

    claim: str
    test: Ratio
    file: BlockCosts
    device: str
    precision: str
    ratio: Interval
    figure: float
    verdict: Verdict
    reason: str


def judge_costs(claims: Claims, files: list[BlockCosts], published: Published) -> list[CostAnswer]:
    """Answer every ratio of the claims on every device and number type."""
    figures = published["efficiency"]["claims"]
    return [
        answer
        for name, claim in claims.items()
        for test in claim.tests
        if isinstance(test, Ratio)
        for file in files
        for answer in _judge_file(name, test, file, float(figures[test.figure]))
    ]


def _judge_file(name: str, test: Ratio, file: BlockCosts, figure: float) -> Iterator[CostAnswer]:
    rows = {
        (row.device, row.precision, row.block): row
        for row in file.blocks
        if (row.form, row.call, row.size) == ("plain", "forward", test.size)
    }
    for device, precision in dict.fromkeys(key[:2] for key in rows):
        pair = [rows.get((device, precision, block)) for block in (test.of, test.over)]
        if pair[0] is None or pair[1] is None:
            continue
        ratio = _divide(pair[0].measured, pair[1].measured, test)
        missing = [row for row in pair if row and row.measured is None]
        yield CostAnswer(
            claim=name,
            test=test,
            file=file,
            device=device,
            precision=precision,
            ratio=ratio,
            figure=figure,
            verdict=judge_ratio(ratio, figure),
            reason=", ".join(_explain_missing(row, file) for row in missing),
        )


def judge_ratio(ratio: Interval, figure: float) -> Verdict:
    """Return whether a ratio reaches the paper's, less TOLERANCE of it.

    It is undecided while the extreme calls disagree.
    """
    if math.isnan(ratio.value):
        return Verdict.NOT_MEASURED
    least = (1 - TOLERANCE) * figure
    low, high = (ratio.value if math.isnan(end) else end for end in ratio[1:])
    if low >= least:
        return Verdict.SUPPORTED
    return Verdict.CONTRADICTED if high < least else Verdict.UNDECIDED


def _divide(first: Measurement | None, second: Measurement | None, test: Ratio) -> Interval:
    if first is None or second is None:
        return Interval(math.nan, math.nan, math.nan)
    if test.cost == "peak_bytes":  # which is the same in each call
        ratio = first.peak_bytes / second.peak_bytes if second.peak_bytes else math.nan
        return Interval(ratio, ratio, ratio)
    ratio = first.seconds / second.seconds
    ends = first.fastest, first.slowest, second.fastest, second.slowest
    if None in ends:
        return Interval(ratio, math.nan, math.nan)
    fastest, slowest, other_fastest, other_slowest = (float(end or 0) for end in ends)
    return Interval(ratio, fastest / other_slowest, slowest / other_fastest)


def _explain_missing(row: BlockCost, file: BlockCosts) -> str:
    limit = f"one call of {row.block} takes longer than {file.settings.limit:g} s"
    return limit if row.status == "over" else f"{row.block} does not fit into the memory"
