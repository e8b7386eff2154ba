"""Find the MLflow store: the local file, or what MLFLOW_TRACKING_URI names."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.engine.errors import InputError
from pipeline.settings.paths import MLFLOW_DATABASE

VARIABLE = "MLFLOW_TRACKING_URI"
LOCAL_STORE = "sqlite:///mlflow.db"
_RULE = (
    "must be a server's address (https://...), sqlite:///FILE or another database, or be unset "
    "to use mlflow.db"
)
_SCHEMES = re.compile(r"https?|databricks.*|(sqlite|postgresql|mysql|mssql)(\+\w+)?")


def read_uri() -> str:
    """Return the store's URI.

    Raises:
        InputError: MLFLOW_TRACKING_URI names no store that MLflow can write to.
    """
    store = os.environ.get(VARIABLE) or LOCAL_STORE
    parts = urlsplit(store)
    if (not parts.scheme and store != "databricks") or parts.scheme == "file":
        if os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1"):
            return store
        raise InputError(
            f"{VARIABLE} {_RULE}, got the folder {store!r}, to which MLflow no longer writes"
        )
    lacks_host = is_server(store) and not parts.netloc
    if lacks_host or not _SCHEMES.fullmatch(parts.scheme or store):
        raise InputError(f"{VARIABLE} {_RULE}, got {hide_credentials(store)!r}")
    return store


def hide_credentials(store: str) -> str:
    """Return the URI without a user's name and password, so that it may be printed."""
    return re.sub(r"//[^/@]*@", "//", store)


def is_server(store: str) -> bool:
    """Tell whether the URI is a server's, which has its own pages."""
    return urlsplit(store).scheme in ("http", "https")


def find_database(store: str) -> Path | None:
    """Return the file of an SQLite store, or None for other stores and for one in memory."""
    if not store.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url  # here, because this import is slow

    name = make_url(store).database
    return Path(name) if name and name != ":memory:" else None


def is_ours(file: Path | None) -> bool:
    """Tell whether a database is the clone's own, which is only a view of the clone's files."""
    return file is not None and file.absolute() == MLFLOW_DATABASE.absolute()
