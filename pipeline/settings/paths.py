"""The path of every file that the pipeline reads or writes; dvc.yaml has the same paths."""

from pathlib import Path
from typing import NamedTuple

PARAMS_FILE = Path("params.yaml")
CHECK_MARK = Path("data/checked.txt")
CONTACT_SHEETS = Path("data/contact-sheet")
EMBEDDED = Path("data/embedded")  # the scenes that the scene stage draws
FEATURES = Path("data/features")
PREPARED = Path("data/prepared")
INPUTS = Path("data/inputs")  # each stage's values of params.yaml and its code
MANIFEST = "manifest.json"  # of prepared data
FIGURE_INPUTS = (
    "drawn-from.json"  # in the figures' folder: the digests of the files that they are drawn from
)
ORIGINS = "provenance.json"  # in a folder of tables: the origin of each table's numbers
PICTURE_LIST = "pictures.json"  # in the pictures' folder: the content of each
RESUME = Path(".resume")  # the states of interrupted trainings
LOGS = Path("logs")
REPRO_LOCK = Path(".dvc/tmp/repro.lock")  # held by the `repro` that runs here
MLFLOW_DATABASE = Path("mlflow.db")
MLFLOW_LOCK = Path(".mlflow.lock")  # held while MLflow's store is made or searched
UNSENT = Path(".mlflow.unsent")  # exists while something could not be sent to MLflow

REPORTS = Path("reports")
CLAIMS = REPORTS / "claims.yaml"
EFFICIENCY = REPORTS / "efficiency"  # a file for each machine
INDEX = REPORTS / "index.html"
INDEX_SUMMARY = REPORTS / "README.md"
INDEX_TABLES = REPORTS / "tables"
README = Path("README.md")
PERFORMANCE = Path("docs/performance.md")
PLAN = REPORTS / "plan.md"
PUBLISHED = REPORTS / "published.yaml"
RESULTS = REPORTS / "results"  # a file for each experiment
# What stands in reports/ beside the folders of the profiles.
SHARED = ("efficiency", "results", "tables")


def locate_results(experiment: str) -> Path:
    """Return the results of an experiment: a profile, or results that were merged."""
    return RESULTS / f"{experiment}.jsonl"


class ReportPaths(NamedTuple):
    """The files of a profile in reports/."""

    profile: str

    @property
    def folder(self) -> Path:
        return REPORTS / self.profile

    @property
    def results(self) -> Path:
        return locate_results(self.profile)

    @property
    def curves(self) -> Path:
        return self.folder / "curves.csv"

    @property
    def figures(self) -> Path:
        return self.folder / "figures"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.json"

    @property
    def networks(self) -> Path:
        return self.folder / "networks.json"

    @property
    def page(self) -> Path:
        return self.folder / "index.html"

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures"

    @property
    def summary(self) -> Path:
        return self.folder / "README.md"

    @property
    def tables(self) -> Path:
        return self.folder / "tables"

    @property
    def variants(self) -> Path:
        """The folder of the variants' own pages."""
        return self.folder / "variants"


def locate_prepared(profile: str) -> Path:
    """Return the folder of a profile's prepared data."""
    return PREPARED / profile


def locate_features(profile: str) -> Path:
    """Return the folder of the maps of a profile's frozen backbone."""
    return FEATURES / profile


def locate_contact_sheet(profile: str) -> Path:
    """Return the picture of a profile's augmented samples."""
    return CONTACT_SHEETS / f"{profile}.png"


class RunPaths(NamedTuple):
    """The files of one variant with one seed, or of an imported checkpoint, which has no seed."""

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
        """The folder of the run's small files."""
        return Path("runs", self.profile, self.name)

    @property
    def curve(self) -> Path:
        return self.folder / "curve.csv"

    @property
    def record(self) -> Path:
        """The origin of the numbers: settings, code, data, machine."""
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
        """The reason why the last try failed; it does not exist after a success."""
        return self.folder / "failure.json"

    @property
    def is_finished(self) -> bool:
        return self.record.exists() and self.scores.exists()
