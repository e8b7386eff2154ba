"""Tell whether two trainings of one run differ only by rounding.

The band comes from runs of the embedded profile. Three seeds were repeated with two threads, in
float32, and in float32 with AVX2 alone: early losses moved by up to 0.6 % and the end by up to
8.5 %. Another seed moves early losses by 2.3 to 4.7 %, and a learning rate a tenth higher by 3.1 to
4.2 %. An early loss therefore distinguishes another training from other rounding. At the end
rounding has changed the course, so the end shows only that the training went equally well.
"""

from collections.abc import Mapping

from pipeline.engine.errors import InputError

EARLY = 20  # iterations whose losses NEAR applies to
NEAR, FAR = 0.015, 0.15

Curve = Mapping[int, float]  # loss by iteration


def measure_differences(reference: Curve, curve: Curve) -> tuple[float, float]:
    """Return the largest difference of the early losses and that of the mean of the last tenth.

    Both are fractions of the reference.

    Args:
        reference: The curve of the reference.
        curve: The other curve.

    Raises:
        InputError: The curves have other iterations.
    """
    if not reference or not reference.keys() <= curve.keys() or max(reference) != max(curve):
        raise InputError("outside: the curve must have the iterations of the committed one")
    shared = sorted(reference)
    early = max(
        abs(curve[i] - reference[i]) / abs(reference[i])
        for i in shared
        if i <= max(EARLY, shared[0])
    )
    last = shared[-max(1, len(shared) // 10) :]
    mean, other = (sum(c[i] for i in last) / len(last) for c in (reference, curve))
    return early, abs(other - mean) / abs(mean)


def is_within(early: float, late: float) -> bool:
    """Tell whether both differences are in the band."""
    return early <= NEAR and late <= FAR
