"""Where the files of a run lie; dvc.yaml names the same places."""

from pathlib import Path
from typing import NamedTuple


class RunPaths(NamedTuple):
    """The files of one variant with one seed."""

    profile: str
    variant: str
    seed: int

    def _at(self, root: str, suffix: str) -> Path:
        return Path(root) / self.profile / f"{self.variant}-{self.seed}{suffix}"

    @property
    def weights(self) -> Path:
        return self._at("runs", "/model.safetensors")

    @property
    def curve(self) -> Path:
        return self._at("runs", "/curve.csv")

    @property
    def record(self) -> Path:
        """Where the numbers come from: settings, code, data, machine."""
        return self._at("reports/runs", ".json")

    @property
    def scores(self) -> Path:
        return self._at("reports/scores", ".json")
