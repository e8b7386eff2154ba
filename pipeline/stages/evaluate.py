"""Stage evaluate: score one trained network on the validation split.

    python -m pipeline evaluate VARIANT SEED
    torchrun --nproc-per-node 8 -m pipeline evaluate VARIANT SEED

It scores every protocol of params.yaml in one pass over the data: one confusion matrix for each,
over the whole split, at the labels' own size. The network is built from its file alone. Several
processes share the batches and add up their counts, so the matrix is the same.
"""

from functools import partial

from pipeline.engine import failures
from pipeline.engine.processes import launch
from pipeline.reporting.pictures import examples
from pipeline.scoring.evaluation import score
from pipeline.settings import inputs, records
from pipeline.settings.paths import RunPaths, locate_prepared
from pipeline.settings.runs import write_failure


def main(variant: str, seed: int) -> None:
    settings = inputs.load_run("evaluate", variant, seed)
    paths, fabric = RunPaths(settings.profile, variant, seed), launch()
    data, protocols = locate_prepared(settings.profile), settings.active.evaluate
    keep = partial(write_failure, settings, paths, "evaluate", None)
    with failures.record_failure(paths.failure, keep):
        cached = settings.resolve_network(variant) if settings.active.features.cache else None
        result = score(paths, data, protocols, fabric, cached)
        if fabric.is_global_zero:
            examples.write_examples(
                paths.predictions, result.store, result.dataset, result.predictions
            )
            records.write(paths.scores, result.scores)
