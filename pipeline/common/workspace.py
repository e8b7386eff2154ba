"""The temporary copies of the repository that `dvc exp run --temp` and `--queue` work in.

Such a copy has what git tracks and what DVC caches. A dataset or a checkpoint that params.yaml
names by a relative path stays in the original repository, so the check stage links to it from the
copy. DVC finds it there when it comes to the stages that depend on it.
"""

import os
from pathlib import Path

from pipeline.common.cli import InputError

_COPIES = (".dvc", "tmp", "exps")  # DVC makes them below this folder


def original(folder: Path | None = None) -> Path | None:
    """Return the repository that a folder is a temporary copy of, None if it is no copy."""
    parts = (folder or Path()).resolve().parts
    for end in range(len(parts) - 1, len(_COPIES), -1):
        if parts[end - len(_COPIES) : end] == _COPIES:
            return Path(*parts[: end - len(_COPIES)])
    return None


def link(key: str, path: Path) -> None:
    """Make a path of the original repository exist in its temporary copy, if this is one.

    Raises:
        InputError: The path leads out of the repository, so that no link can stand in its place.
    """
    source = original()
    if source is None or path.is_absolute() or path.exists() or not (source / path).exists():
        return
    if os.path.normpath(path).startswith(os.pardir):
        raise InputError(
            f"{key} is {str(path)!r}, which leads out of the temporary copy that `dvc exp run` "
            f"works in; allowed is the absolute path {os.path.normpath(source / path)}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # a link that leads nowhere
    path.symlink_to(source / path)
