"""Download a published checkpoint, and list it under `checkpoints` in params.yaml.

    python -m pipeline fetch-checkpoint NAME

The catalogue is reports/published.yaml. The file goes to PyTorch's cache, where torch.hub keeps
downloads. The last eight digits of its name begin its SHA-256, which is checked.
"""

import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import yaml
from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

from pipeline.engine import yaml_file
from pipeline.engine.errors import InputError
from pipeline.engine.files import digest_file, whole_file
from pipeline.settings import params
from pipeline.settings.paths import PARAMS_FILE, PUBLISHED

LAYOUTS = {"mmsegmentation": "mmseg"}  # of a project of the catalogue
TIMEOUT = 30  # seconds without an answer of the server
CHUNK = 2**20  # bytes


class Published(NamedTuple):
    """A checkpoint of the catalogue: its address, its dataset, and the layout of its file."""

    address: str
    dataset: str
    layout: str

    @property
    def file_name(self) -> str:
        return self.address.rpartition("/")[2]

    @property
    def digest_start(self) -> str:
        """The first digits of the file's SHA-256."""
        return Path(self.file_name).stem.rpartition("-")[2]


def read_catalogue(path: Path = PUBLISHED) -> dict[str, Published]:
    """Return the published checkpoints by their names in params.yaml."""
    projects = yaml.safe_load(path.read_text(encoding="utf-8"))["checkpoints"]
    catalogue = {}
    for project, entry in projects.items():
        for row in entry["files"]:
            name = row["file"].partition("/")[0].replace("-", "_")
            address = f"{entry['base']}/{row['file']}"
            catalogue[name] = Published(address, row["dataset"], LAYOUTS[project])
    return catalogue


def fetch(published: Published) -> Path:
    """Return the file in the cache, downloaded if it is not there.

    Raises:
        InputError: It cannot be downloaded, or has another digest than its name says.
    """
    import torch

    file = Path(torch.hub.get_dir(), "checkpoints", published.file_name)
    if not file.is_file():
        with whole_file(file) as partial:
            _download(published.address, partial)
            _check_digest(partial, published, "the download is removed; try again")
    _check_digest(file, published, f"remove {file}, and run the command again")
    return file


def _download(address: str, target: Path) -> None:
    columns = BarColumn(), DownloadColumn(), TransferSpeedColumn()
    try:
        with (
            urllib.request.urlopen(address, timeout=TIMEOUT) as answer,
            target.open("wb") as file,
            Progress(*columns, transient=True) as progress,
        ):
            length = answer.headers.get("Content-Length")
            task = progress.add_task("", total=int(length) if length else None)
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                progress.advance(task, len(chunk))
    except (OSError, ValueError, HTTPException) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())[:120]
        raise InputError(
            f"{address} could not be downloaded ({reason or type(error).__name__}); run the "
            f"command again on a machine with internet access, or list the file under `checkpoints`"
        ) from None


def _check_digest(file: Path, published: Published, advice: str) -> None:
    found = digest_file(file)[: len(published.digest_start)]
    if found != published.digest_start:
        raise InputError(
            f"the SHA-256 of {published.file_name} begins with {found}, not with "
            f"{published.digest_start}; {advice}"
        )


def main(name: str) -> None:
    values, catalogue = params.read(), read_catalogue()
    settings = params.check(values)
    if name not in catalogue:
        raise InputError(f"NAME must be one of {', '.join(catalogue)}, got {name!r}")
    published, known = catalogue[name], settings.checkpoints.get(name)
    if known and Path(known.file).name != published.file_name:
        raise InputError(
            f"checkpoints.{name} is {known.file} already; give that entry another name first"
        )
    file = fetch(published)
    entry = {"file": str(file), "layout": published.layout}
    chosen = {"checkpoints": values["checkpoints"] | {name: entry}}
    params.check(values | chosen)
    text = yaml_file.replace_values(PARAMS_FILE.read_text(encoding="utf-8"), chosen)
    with whole_file(PARAMS_FILE) as partial:
        partial.write_text(text, encoding="utf-8")
    print(f"{file} is listed as checkpoints.{name}; `dvc repro imported@{name}` scores it")
    if settings.active.dataset != published.dataset:
        print(f"its data are {published.dataset}: run `python -m pipeline use {published.dataset}`")
