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


def fault(database: Path) -> str | None:
    """Return why MLflow will never use a database, or None if it may.

    This asks before MLflow does, because MLflow keeps connections to a file that it once opened.
    """
    if database.is_dir():
        return "it is a folder"
    if not database.exists():
        return None
    try:
        with closing(sqlite3.connect(database)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if not tables:
                return None  # MLflow fills an empty one
            if "alembic_version" not in tables:
                return "its tables are not MLflow's"
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        name = error.sqlite_errorname
        if name == "SQLITE_NOTADB":
            return "it is no database"
        if name.startswith("SQLITE_CORRUPT"):
            return "it is damaged"
        raise
    return _wrong_version(found[0] if found else "none", tables)


def _wrong_version(found: str, tables: set[str]) -> str | None:
    import mlflow.store
    from alembic.script import ScriptDirectory
    from mlflow.store.db.base_sql_model import Base

    known = ScriptDirectory(str(Path(mlflow.store.__path__[0]) / "db_migrations"))
    if found == known.get_current_head():
        lacks = sorted(set(Base.metadata.tables) - tables)
        return f"it lacks MLflow's table {lacks[0]}" if lacks else None
    older = found in {script.revision for script in known.walk_revisions()}
    return f"its tables are of {'an older' if older else 'another'} version of MLflow"


def set_aside(database: Path, reason: str) -> None:
    """Rename the clone's own database, so that it is made again from the files."""
    number = 1
    while os.path.lexists(old := database.with_name(f"{database.name}.old{number}")):
        number += 1
    for side in _SIDES:
        if os.path.lexists(f"{database}{side}"):
            Path(f"{database}{side}").replace(f"{old}{side}")
    print(f"{database}: {reason}; it is now {old.name}, and a new one is made", file=sys.stderr)
