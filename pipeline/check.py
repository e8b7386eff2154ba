"""Stage check: refuse a wrong params.yaml, a missing dataset folder or checkpoint before any work.

    python -m pipeline.check

Writes what all trainings, and all evaluations, take from params.yaml under data/settings. They
depend on these files: their values would otherwise stand in dvc.lock once for each run, and DVC
reads and writes the whole of dvc.lock after every stage. A variant with a block of contexts/ gets
a file that says which one, with what settings and of what code: its trainings depend on it.
"""

from pathlib import Path

from pipeline.common import cli, contexts, params
from pipeline.common.files import whole_file, whole_folder, write_json

CHECKED = Path("data/checked.txt")  # always the same, so that what follows is not invalidated


def main() -> None:
    settings = params.load()
    if not settings.embedded and not Path(settings.dataset_dir).is_dir():
        raise cli.InputError(
            f"dataset_dir is {settings.dataset_dir!r}; there is no such folder; "
            f"allowed is the dataset's folder, or {params.EMBEDDED} for the embedded one"
        )
    for name, given in settings.checkpoints.items():
        if not Path(given.file).is_file():
            raise cli.InputError(
                f"checkpoints.{name}.file is {given.file!r}; there is no such file; allowed is a "
                f"network's .pth or .safetensors file"
            )
    contexts.refuse_wrong(settings)
    with whole_folder(contexts.SETTINGS) as folder:
        for name in settings.variants:
            write_json(folder / f"{name}.json", contexts.by_variant(settings, name))
    for stage, values in params.by_stage(settings).items():
        write_json(params.SETTINGS / f"{stage}.json", values)
    with whole_file(CHECKED) as partial:
        partial.write_text("params.yaml is valid\n", encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
