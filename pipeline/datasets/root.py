"""Say which folder to give as dataset_dir, where that of params.yaml is not the dataset's."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.common.cli import InputError


def check_root(root: Path, folders: Sequence[str]) -> None:
    """Refuse a root that does not hold the dataset's folders, if a place near it does.

    Raises:
        InputError: If the folders lie a level higher or up to two levels deeper, or each in a
            folder of its own.
    """
    if _holds(root, folders):
        return
    try:
        list(root.iterdir())
    except PermissionError:
        raise InputError(f"{root}: no permission to read it") from None
    inside = _folders([root])
    around = [root.absolute().parent, *inside, *_folders(inside)]
    for folder in around:
        if _holds(folder, folders):
            raise InputError(
                f"dataset_dir is {str(root)!r}; give {str(folder)!r}, which holds "
                f"{' and '.join(folders)}"
            )
    places = [root, *around, *_folders([root.absolute().parent])]
    parts = {name: next((p for p in places if _holds(p, [name])), None) for name in folders}
    if None not in parts.values():
        apart = ", ".join(f"{name} in {place}" for name, place in parts.items())
        raise InputError(
            f"dataset_dir is {str(root)!r}, but the dataset's parts lie apart: {apart}; move them "
            f"side by side into one folder and give that"
        )


def _holds(folder: Path, names: Sequence[str]) -> bool:
    try:
        return all((folder / name).is_dir() for name in names)
    except PermissionError:
        return False


def _folders(parents: Iterable[Path]) -> list[Path]:
    """Return the folders in these, as far as they may be read, but no leftovers of macOS."""
    found: list[Path] = []
    for parent in parents:
        try:
            found += sorted(f for f in parent.iterdir() if f.is_dir() and f.name != "__MACOSX")
        except PermissionError:
            continue
    return found
