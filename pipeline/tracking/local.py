"""Keep the local MLflow database usable when the clone moves or the database is broken."""

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from pipeline.settings.paths import MLFLOW_DATABASE

ARTIFACTS = "mlartifacts"  # beside the database
_SIDES = ("", "-journal", "-wal", "-shm")  # SQLite's files of one database
_COLUMNS = (("experiments", "artifact_location"), ("runs", "artifact_uri"))


def locate_artifacts(database: Path) -> str:
    """Return the address of the folder of the runs' files."""
    return (database.parent / ARTIFACTS).resolve().as_uri()


def update_addresses(database: Path, prefix: str) -> None:
    """Replace the folder in all addresses by the clone's, because MLflow keeps them absolute.

    A clone that was moved, renamed or copied would otherwise write to its old folder. Only an
    address that this project made changes, never a folder that the user chose.

    Args:
        database: The database.
        prefix: The start of the names of this project's experiments.
    """
    here = locate_artifacts(database).removesuffix(f"/{ARTIFACTS}")
    with closing(sqlite3.connect(database)) as connection, connection:
        rows = connection.execute(
            "SELECT artifact_location FROM experiments WHERE substr(name, 1, ?) = ?",
            (len(prefix), prefix),
        ).fetchall()
        for there in {row[0].removesuffix(f"/{ARTIFACTS}") for row in rows if _is_ours(row[0])}:
            for old, new in ((there, here), (_parse_path(there), _parse_path(here))):
                for table, column in _COLUMNS:
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE substr({column}, 1, ?) = ?",
                        (new, len(old) + 1, len(old) + 1, f"{old}/"),
                    )


def _is_ours(location: str | None) -> bool:
    """Tell whether an experiment's address is one that `locate_artifacts` makes."""
    location = location or ""
    return location.startswith("file:///") and location.endswith(f"/{ARTIFACTS}")


def _parse_path(uri: str) -> str:
    from urllib.request import url2pathname

    return url2pathname(uri.removeprefix("file://"))


def is_lost(uri: str) -> bool:
    """Tell whether a run's files were below this clone's folder and are missing now."""
    root = locate_artifacts(MLFLOW_DATABASE)
    return uri.startswith(f"{root}/") and not Path(_parse_path(uri)).is_dir()


def find_fault(database: Path) -> str | None:
    """Return why MLflow will never use a database, or None if it may.

    It looks before MLflow does, because MLflow keeps connections to a file that it once opened.
    """
    if database.is_dir():
        return "it is a folder"
    if not database.exists():
        return None
    try:
        with closing(sqlite3.connect(database)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if not tables:
                return None  # MLflow fills an empty database
            if "alembic_version" not in tables:
                return "its tables are not MLflow's"
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        name = error.sqlite_errorname
        if name == "SQLITE_NOTADB":
            return "it is no database"
        if name.startswith("SQLITE_CORRUPT"):
            return "it is damaged"
        raise
    return _find_wrong_version(row[0] if row else "none", tables)


def _find_wrong_version(version: str, tables: set[str]) -> str | None:
    import mlflow.store
    from alembic.script import ScriptDirectory
    from mlflow.store.db.base_sql_model import Base

    scripts = ScriptDirectory(str(Path(mlflow.store.__path__[0]) / "db_migrations"))
    if version == scripts.get_current_head():
        missing = sorted(set(Base.metadata.tables) - tables)
        return f"it lacks MLflow's table {missing[0]}" if missing else None
    is_older = version in {script.revision for script in scripts.walk_revisions()}
    return f"its tables are of {'an older' if is_older else 'another'} version of MLflow"


def set_aside(database: Path, reason: str) -> None:
    """Rename the clone's own database, so that a new one is made from the files."""
    number = 1
    while os.path.lexists(old := database.with_name(f"{database.name}.old{number}")):
        number += 1
    for side in _SIDES:
        if os.path.lexists(f"{database}{side}"):
            Path(f"{database}{side}").replace(f"{old}{side}")
    print(f"{database}: {reason}; it is now {old.name}, and a new one is made", file=sys.stderr)
