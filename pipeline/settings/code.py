"""The code that shapes what each stage makes; a stage runs again when it changes.

That is all that the stage's module imports, except what is named here with the reason why it
cannot change the output.
"""

from pathlib import Path

from pipeline.engine.files import digest_file
from pipeline.engine.source import digest_of, imported_files

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = (".css", ".j2", ".js")
# For every stage.
IRRELEVANT = {
    "pipeline.data.samples.workers": "chooses how many processes load samples",
    "pipeline.engine.cores": "counts cores, for a number of processes or threads",
    "pipeline.engine.errors": "words an error",
    "pipeline.engine.failures": "keeps why a run failed, which is no output of DVC's",
    "pipeline.engine.files": "writes a file whole, and takes the digest of one",
    "pipeline.engine.gpus": "finds the devices; the record names the one that was used",
    "pipeline.engine.memory": "counts the memory of a run, which only its record has",
    "pipeline.engine.orphans": "ends a process with its parent",
    "pipeline.engine.progress": "writes to the screen",
    "pipeline.engine.provenance": "names the commit and the machine, which DVC does not compare",
    "pipeline.engine.source": "finds this code",
    "pipeline.engine.workspace": "links to files beside DVC's temporary copies",
    "pipeline.engine.yaml_file": "reads params.yaml as DVC does",
    "pipeline.settings": "reads and refuses values; a stage depends on the values themselves",
}
# For single stages. What a stage of RELEVANT measures or makes depends on these modules after all.
TRAINED = "the code of a variant's context is in data/inputs, so the weights depend on it"
IRRELEVANT_TO = {
    "train": {
        "contexts": TRAINED,
        "pipeline.scoring.sizes": "finds the sizes that an evaluation shows, to refuse early",
        "pipeline.tracking": "sends to MLflow what the run wrote",
    },
    "evaluate": {"contexts": TRAINED},
    "imported": {"contexts": "the published layouts have the paper's contexts only"},
    "pictures": {"contexts": TRAINED},
}
RELEVANT = {
    "efficiency": {"pipeline.engine.memory"},
    "networks": {"pipeline.engine.memory"},
}


def files_of(stage: str, root: Path = ROOT) -> list[Path]:
    """Return the files that shape a stage's output."""
    without = {*IRRELEVANT, *IRRELEVANT_TO.get(stage, ())} - RELEVANT.get(stage, set())
    return imported_files(f"pipeline.stages.{stage}", frozenset(without), root)


def digests(stage: str, root: Path = ROOT) -> dict[str, str]:
    """Return the sha256 of the code in each file that shapes a stage's output.

    The styles and templates of a page lie beside the module that fills them.
    """
    files = files_of(stage, root)
    code = {file.as_posix(): digest_of(root / file) for file in files}
    beside = {file for own in files for file in (root / own).parent.iterdir()}
    templates = sorted(file for file in beside if file.suffix in TEMPLATES)
    return code | {file.relative_to(root).as_posix(): digest_file(file) for file in templates}
