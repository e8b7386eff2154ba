"""Which MLflow store is meant: the local file, or what MLFLOW_TRACKING_URI names."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.common.cli import InputError

VARIABLE = "MLFLOW_TRACKING_URI"
LOCAL_STORE = "sqlite:///mlflow.db"
_ALLOWED = "allowed are a server's address (https://...), sqlite:///FILE or another database"
_SCHEMES = re.compile(r"https?|databricks.*|(sqlite|postgresql|mysql|mssql)(\+\w+)?")


def uri() -> str:
    """Return the store's URI.

    Raises:
        InputError: MLFLOW_TRACKING_URI names no store that MLflow writes to.
    """
    given = os.environ.get(VARIABLE) or LOCAL_STORE
    parts = urlsplit(given)
    if (not parts.scheme and given != "databricks") or parts.scheme == "file":
        if os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1"):
            return given
        raise InputError(
            f"{VARIABLE} is {given!r}, a folder, and MLflow no longer writes to folders; "
            f"{_ALLOWED}; unset it to use mlflow.db"
        )
    nowhere = is_server(given) and not parts.netloc
    if nowhere or not _SCHEMES.fullmatch(parts.scheme or given):
        raise InputError(f"{VARIABLE} is {shown(given)!r}; {_ALLOWED}; unset it to use mlflow.db")
    return given


def shown(store: str) -> str:
    """Return the URI without a user's name and password, as it may be printed."""
    return re.sub(r"//[^/@]*@", "//", store)


def is_server(store: str) -> bool:
    """Return whether a server answers at this URI, which then has pages of its own."""
    return urlsplit(store).scheme in ("http", "https")


def database(store: str) -> Path | None:
    """Return the file of an SQLite store; None for all others and for one in memory."""
    if not store.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url  # here, because it takes long to import

    name = make_url(store).database
    return Path(name) if name and name != ":memory:" else None


def is_ours(file: Path | None) -> bool:
    """Return whether a database is the clone's own, which holds nothing but a view of its files."""
    return file is not None and file.absolute() == Path("mlflow.db").absolute()
