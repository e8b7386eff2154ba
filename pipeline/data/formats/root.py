"""Find the folder to give as dataset_dir if that of params.yaml is a wrong one."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.engine.errors import InputError


def check_root(root: Path, folders: Sequence[str]) -> None:
    """Refuse a root without the dataset's folders if they lie near it.

    Raises:
        InputError: The folders lie one level higher or up to two levels deeper, or apart from each
            other.
    """
    if _holds_all(root, folders):
        return
    try:
        list(root.iterdir())
    except PermissionError:
        raise InputError(f"{root}: no permission to read it") from None
    children = _list_folders([root])
    neighbours = [root.absolute().parent, *children, *_list_folders(children)]
    for folder in neighbours:
        if _holds_all(folder, folders):
            raise InputError(
                f"dataset_dir is {str(root)!r}; give {str(folder)!r}, which holds "
                f"{' and '.join(folders)}"
            )
    places = [root, *neighbours, *_list_folders([root.absolute().parent])]
    parts = {name: next((p for p in places if _holds_all(p, [name])), None) for name in folders}
    if None not in parts.values():
        locations = ", ".join(f"{name} in {place}" for name, place in parts.items())
        raise InputError(
            f"dataset_dir is {str(root)!r}, but the dataset's parts lie apart: {locations}; "
            f"move them side by side into one folder and give that"
        )


def _holds_all(folder: Path, names: Sequence[str]) -> bool:
    try:
        return all((folder / name).is_dir() for name in names)
    except PermissionError:
        return False


def _list_folders(parents: Iterable[Path]) -> list[Path]:
    """Return the folders in the readable ones of `parents`, except the leftovers of macOS."""
    folders: list[Path] = []
    for parent in parents:
        try:
            folders += sorted(f for f in parent.iterdir() if f.is_dir() and f.name != "__MACOSX")
        except PermissionError:
            continue
    return folders
