"""Score label files that others predicted, like our own networks.

    python -m pipeline score FOLDER NAME --source TEXT

FOLDER holds a PNG for each image of the active profile's validation split: NAME.png or NAME_*.png
with the image's name, of the image's size, with the values of the dataset's own label files, as
`submit` writes them. It writes reports/results/external_NAME.jsonl. On the real dataset the
comparison table shows it, with its source.
"""

from pathlib import Path

from pipeline.data.formats import DATASETS
from pipeline.data.prepared.store import Store
from pipeline.engine import provenance
from pipeline.engine.errors import InputError
from pipeline.scoring.external import match_files, score_files
from pipeline.settings import params, records
from pipeline.settings.paths import MANIFEST, locate_prepared, locate_results
from pipeline.settings.records import ExternalLine, Manifest


def main(folder: Path, name: str, source: str) -> None:
    settings = params.load()
    params.require_new_experiment(settings, name)
    data = locate_prepared(settings.profile)
    if not folder.is_dir():
        raise InputError(f"FOLDER must be a folder, got {str(folder)!r}")
    if not (data / MANIFEST).is_file():
        raise InputError(f"{data} is missing; `dvc repro prepare` makes it")
    manifest, store = records.read(Manifest, data / MANIFEST), Store(data, "val")
    files = match_files(folder, list(store.names))
    result, digest = score_files(files, store, DATASETS[settings.active.dataset], manifest)
    line = ExternalLine(
        version=1,
        kind="external",
        name=name,
        source=source,
        profile=settings.profile,
        digest=digest,
        protocol="external",
        images=len(files),
        dataset_digest=manifest.digest,
        scores=result,
        code=records.Code(**provenance.read_code_version()),
        environment=records.Environment(**provenance.describe_machine("cpu")),
    )
    target = locate_results(f"external_{name}")
    records.write_lines(target, [line])
    print(f"{name}: mIoU {100 * result.miou:.2f} of {len(files)} images; {target}")
