"""List the runs that params.yaml describes, and record why one failed."""

from collections.abc import Iterator

from pipeline.settings import records
from pipeline.settings.inputs import of_run
from pipeline.settings.paths import RunPaths
from pipeline.settings.records import Failure, RunRecord, Stage
from pipeline.settings.schema import Params


def list_runs(settings: Params) -> Iterator[RunPaths]:
    """Yield the active profile's runs, in the order of params.yaml."""
    for variant in settings.rows:
        for seed in settings.seeds:
            yield RunPaths(settings.profile, variant, seed)


def list_finished(settings: Params) -> Iterator[RunPaths]:
    """Yield the runs that are trained and scored."""
    return (paths for paths in list_runs(settings) if paths.is_finished)


def has_current_settings(settings: Params, record: RunRecord) -> bool:
    """Tell whether params.yaml still has the settings of a run of the active profile.

    The record has the precision that was used; params.yaml may leave it to the machine.
    """
    config, train = record.config, settings.active.train
    return (
        record.variant in settings.variants
        and config.network == settings.resolve_network(record.variant)
        and config.train.model_copy(update={"precision": train.precision}) == train
    )


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
