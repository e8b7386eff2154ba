"""Connect to the MLflow store, from several processes at once, without stopping a run."""

import fcntl
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.engine.errors import InputError
from pipeline.settings.paths import MLFLOW_LOCK, UNSENT
from pipeline.tracking import address, local

if TYPE_CHECKING:  # importing mlflow takes seconds, and short runs never need it
    from mlflow import MlflowClient
    from mlflow.entities import Run

PREFIX = "ann-"  # of the names of this project's experiments in MLflow, one for each profile
LIMIT = float(os.environ.get("ANN_TRACK_LIMIT", "60"))  # seconds for one run, with MLflow's import
FINGERPRINT = "fingerprint"  # the tag that identifies a run in every store
NOTE = """**ANN benchmark.** A run stands for a variant; open it for its seeds.
To compare two variants, tick both and press *Compare*; *Chart view* shows their curves.
Each run has its settings, scores by class, curve, data, code version and pictures;
the variants' runs have the report, `index.html`, among their artifacts."""


def attempt(send: Callable[[], object]) -> bool:
    """Send to the store and return whether that worked; print a failure instead of raising it."""
    try:
        return deliver(send)
    except InputError as error:
        print(f"tracking failed: {error}", file=sys.stderr)
        return False


def send_beside(send: Callable[[], object]) -> threading.Thread:
    """Attempt to send in a thread of its own, so that a training does not wait.

    MLflow's own asynchronous logging is for metrics alone: it connects, and makes a run and its
    tags, while the caller waits.
    """
    thread = threading.Thread(target=attempt, args=(send,), daemon=True)
    thread.start()
    return thread


def deliver(send: Callable[[], object]) -> bool:
    """Send to the store; return False if the store may accept it later.

    Raises:
        InputError: The store will never accept it.
    """
    try:
        _send_within(LIMIT, send)
    except Exception as error:  # any fault of the store: the files keep everything
        _make_client.cache_clear()
        reason = (str(error) or type(error).__name__).splitlines()[0]
        with suppress(OSError):
            UNSENT.write_text(reason + "\n", encoding="utf-8")
        if isinstance(error, InputError):
            raise
        if _is_refusal(error):
            uri = address.hide_credentials(address.read_uri())
            raise InputError(
                f"the MLflow store {uri} cannot be used: {reason}; set {address.VARIABLE} to "
                f"another store, or unset it to use mlflow.db"
            ) from None
        print(f"tracking failed and will be repeated later: {reason}", file=sys.stderr)
        return False
    return True


def _is_refusal(error: BaseException) -> bool:
    """Tell whether the store will never accept this."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, ImportError):
        return True  # the database's driver is not installed
    temporary = (408, 409, 425, 429)  # HTTP statuses that ask for another try
    if not isinstance(error, MlflowException):
        return False
    status = error.get_http_status_code()
    return 400 <= status < 500 and status not in temporary


def _send_within(seconds: float, send: Callable[[], object]) -> None:
    """Wait so long for a store that is locked or far away, and then let it be.

    Raises:
        TimeoutError: The store did not answer. The thread that waits for it ends with the process.
    """
    errors: list[BaseException] = []

    def work() -> None:
        try:
            send()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"the store did not answer within {seconds:g} s")
    if errors:
        raise errors[0]


def connect(profile: str) -> tuple["MlflowClient", str]:
    """Return the client and the id of a profile's experiment; create it if it does not exist.

    Several processes may call this at once. It looks the experiment up each time, because somebody
    may delete it while a training runs.
    """
    with hold_lock():
        client, name = _make_client(), f"{PREFIX}{profile}"
        experiment = client.get_experiment_by_name(name)
        if experiment is not None and experiment.lifecycle_stage == "active":
            return client, experiment.experiment_id
        if experiment is not None:
            _free_name(client, experiment.experiment_id, name)
        file = address.find_database(address.read_uri())
        artifacts = local.locate_artifacts(file) if file else None  # a server has its own place
        tags = {"mlflow.note.content": NOTE, "mlflow.experimentKind": "custom_model_development"}
        return client, client.create_experiment(name, artifacts, tags)


def _free_name(client: "MlflowClient", experiment: str, name: str) -> None:
    """Rename an experiment that was deleted in MLflow's pages; it and its runs stay deleted."""
    client.restore_experiment(experiment)  # MLflow renames only what is active
    client.rename_experiment(experiment, f"{name} (deleted, {experiment})")
    client.delete_experiment(experiment)


@cache
def _make_client() -> "MlflowClient":
    import logging

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")  # MLflow's default is minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = address.read_uri()
    file = address.find_database(uri)
    if file and (reason := local.find_fault(file)):
        if not address.is_ours(file):
            raise _make_unusable_error(uri, reason)
        local.set_aside(file, reason)
    try:
        client = MlflowClient(uri)
    except MlflowException as error:
        if "out-of-date database schema" in error.message:  # of a database server
            raise _make_unusable_error(uri, "its tables are of another version of MLflow") from None
        raise
    if file and Path.cwd().resolve() in file.resolve().parents:
        local.update_addresses(file, PREFIX)
    return client


def _make_unusable_error(uri: str, reason: str) -> InputError:
    uri = address.hide_credentials(uri)
    return InputError(
        f"{address.VARIABLE} is {uri!r}; {reason}; if it is an older MLflow's, run `mlflow db "
        f"upgrade` with this URI; otherwise name another store, or unset it to use mlflow.db"
    )


@contextmanager
def hold_lock() -> Iterator[None]:
    """Let one process of this folder at a time create experiments and runs."""
    with MLFLOW_LOCK.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find_run(client: "MlflowClient", experiment: str, fingerprint: str) -> "Run | None":
    """Return the run of a fingerprint, or None if the store has none."""
    runs = client.search_runs([experiment], f"tags.{FINGERPRINT} = '{fingerprint}'", max_results=1)
    return runs[0] if runs else None
