"""The local MLflow database: a view of the clone's files that follows the clone."""

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

ARTIFACTS = "mlartifacts"  # beside the database
_SIDES = ("", "-journal", "-wal", "-shm")  # SQLite's files of one database
_COLUMNS = (("experiments", "artifact_location"), ("runs", "artifact_uri"))


def artifacts(database: Path) -> str:
    """Return the address of the folder where the runs' files belong."""
    return (database.parent / ARTIFACTS).resolve().as_uri()


def follow(database: Path, experiment: str) -> None:
    """Put the clone's folder into all addresses, because MLflow keeps them absolute.

    A clone that was moved, renamed or copied would otherwise write to its old place. Only an
    address that this project made is changed, never a folder that the user chose.
    """
    here = artifacts(database).removesuffix(f"/{ARTIFACTS}")
    with closing(sqlite3.connect(database)) as connection, connection:
        found = connection.execute(
            "SELECT artifact_location FROM experiments WHERE name = ?", (experiment,)
        ).fetchone()
        there, _, name = (found[0] or "").rpartition("/") if found else ("", "", "")
        if name != ARTIFACTS or not there.startswith("file:///") or there == here:
            return
        for old, new in ((there, here), (_path(there), _path(here))):
            for table, column in _COLUMNS:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE substr({column}, 1, ?) = ?",
                    (new, len(old) + 1, len(old) + 1, f"{old}/"),
                )


def _path(uri: str) -> str:
    from urllib.request import url2pathname

    return url2pathname(uri.removeprefix("file://"))


def lost(uri: str) -> bool:
    """Return whether a run's files were below this clone's folder and are gone."""
    root = artifacts(Path("mlflow.db"))
    return uri.startswith(f"{root}/") and not Path(_path(uri)).is_dir()


def unusable(error: BaseException) -> str | None:
    """Return why MLflow will never open a database, or None if it may do so later."""
    from alembic.util import CommandError
    from sqlalchemy.exc import DBAPIError

    if isinstance(error, CommandError) or "database schema" in str(error):
        return "its tables are of another version of MLflow"
    origin = error.orig if isinstance(error, DBAPIError) else None
    code = getattr(origin, "sqlite_errorname", "")
    if code == "SQLITE_NOTADB":
        return "it is no database"
    if code.startswith("SQLITE_CORRUPT"):
        return "it is damaged"
    if code == "SQLITE_ERROR":
        return "its tables are not as MLflow makes them"
    return None


def set_aside(database: Path, reason: str) -> None:
    """Rename the clone's own database, so that it is made again from the files."""
    number = 1
    while os.path.lexists(old := database.with_name(f"{database.name}.old{number}")):
        number += 1
    for side in _SIDES:
        if os.path.lexists(f"{database}{side}"):
            Path(f"{database}{side}").replace(f"{old}{side}")
    print(f"{database}: {reason}; it is now {old.name}, and a new one is made", file=sys.stderr)
