"""Where the files of a run lie; dvc.yaml names the same places."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.common.params import Params

EFFICIENCY = Path("reports/efficiency")  # a file each machine
NETWORKS = Path("reports/networks.json")
PUBLISHED = Path("reports/published.yaml")
FIGURES = Path("reports/figures")
PICTURES = Path("reports/pictures")


class RunPaths(NamedTuple):
    """The files of one variant with one seed, or of one imported checkpoint, which has no seed."""

    profile: str
    variant: str
    seed: int | None

    @property
    def name(self) -> str:
        return self.variant if self.seed is None else f"{self.variant}-{self.seed}"

    @property
    def weights(self) -> Path:
        return Path("weights", self.profile, f"{self.name}.safetensors")

    @property
    def folder(self) -> Path:
        """The small files."""
        return Path("runs", self.profile, self.name)

    @property
    def curve(self) -> Path:
        return self.folder / "curve.csv"

    @property
    def record(self) -> Path:
        """Where the numbers come from: settings, code, data, machine."""
        return self.folder / "record.json"

    @property
    def scores(self) -> Path:
        return self.folder / "scores.json"

    @property
    def predictions(self) -> Path:
        """A few images beside their labels and predictions."""
        return self.folder / "predictions.webp"

    @property
    def failure(self) -> Path:
        """Why the last try failed; not there once the run succeeds."""
        return self.folder / "failure.json"

    @property
    def is_finished(self) -> bool:
        return self.record.exists() and self.scores.exists()


def runs(settings: Params) -> Iterator[RunPaths]:
    """The active profile's runs, in the order of params.yaml."""
    for variant in settings.variants:
        for seed in settings.seeds:
            yield RunPaths(settings.profile, variant, seed)


def finished(settings: Params) -> Iterator[RunPaths]:
    """Those of them that are trained and scored."""
    return (paths for paths in runs(settings) if paths.is_finished)
