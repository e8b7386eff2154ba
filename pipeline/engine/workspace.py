"""Link files into the temporary copies that `dvc exp run --temp` and `--queue` work in.

Such a copy has the files that git tracks or DVC caches. A dataset or a checkpoint that params.yaml
names by a relative path stays in the original repository. The check stage links to it from the
copy, and DVC finds it there when it reaches the stages that depend on it.
"""

import os
from pathlib import Path

from pipeline.engine.errors import InputError

_COPIES = (".dvc", "tmp", "exps")  # DVC makes them below this folder


def find_original(folder: Path | None = None) -> Path | None:
    """Return the repository that a folder is a temporary copy of, or None if it is no copy."""
    parts = (folder or Path()).resolve().parts
    for end in range(len(parts) - 1, len(_COPIES), -1):
        if parts[end - len(_COPIES) : end] == _COPIES:
            return Path(*parts[: end - len(_COPIES)])
    return None


def link(key: str, path: Path) -> None:
    """Link to a path of the original repository if this is a temporary copy without it.

    Args:
        key: The key of params.yaml that names the path.
        path: The path, as params.yaml has it.

    Raises:
        InputError: The path leads out of the repository, where no link may be made.
    """
    source = find_original()
    if source is None or path.is_absolute() or path.exists() or not (source / path).exists():
        return
    if os.path.normpath(path).startswith(os.pardir):
        raise InputError(
            f"{key} must be the absolute path {os.path.normpath(source / path)}, because "
            f"{str(path)!r} leads out of the temporary copy that `dvc exp run` works in"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # a broken link
    path.symlink_to(source / path)
