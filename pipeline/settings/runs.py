"""List the runs that params.yaml describes, and record why one failed."""

from collections.abc import Iterator

from pipeline.settings import records
from pipeline.settings.inputs import of_run
from pipeline.settings.paths import RunPaths
from pipeline.settings.records import Failure, Stage
from pipeline.settings.schema import Params


def list_runs(settings: Params) -> Iterator[RunPaths]:
    """Yield the active profile's runs, in the order of params.yaml."""
    for variant in settings.variants:
        for seed in settings.seeds:
            yield RunPaths(settings.profile, variant, seed)


def list_finished(settings: Params) -> Iterator[RunPaths]:
    """Yield the runs that are trained and scored."""
    return (paths for paths in list_runs(settings) if paths.is_finished)


def write_failure(
    settings: Params,
    paths: RunPaths,
    stage: Stage,
    fingerprint: str | None,
    reason: str,
    iteration: int | None,
) -> None:
    """Record why a run failed, with the values and the code that shaped it.

    Args:
        settings: All of params.yaml.
        paths: The run's files.
        stage: train or evaluate.
        fingerprint: The run's fingerprint, if there is one.
        reason: A sentence.
        iteration: The iteration at which it failed, counted from 1, if there is one.
    """
    assert paths.seed is not None
    failure = Failure(
        version=1,
        variant=paths.variant,
        seed=paths.seed,
        stage=stage,
        inputs=of_run(settings, stage, paths.variant),
        reason=reason,
        at=iteration,
        fingerprint=fingerprint,
    )
    records.write(paths.failure, failure)
