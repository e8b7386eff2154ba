"""The MLflow store: made safely by several processes at once, and never in the way of a run."""

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from pipeline.common.cli import InputError
from pipeline.tracking import address, local

if TYPE_CHECKING:  # importing mlflow takes seconds, and short runs never need it
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "ann"
UNSENT = Path(".mlflow.unsent")  # there while something could not be sent
LIMIT = float(os.environ.get("ANN_TRACK_LIMIT", "60"))  # seconds for one run, MLflow's import too
FINGERPRINT = "fingerprint"  # the tag that names a run in every store
NOTE = """**ANN, reproduced.** A run stands for a variant; open it for its seeds.
To compare two variants, tick both and press *Compare*; *Chart view* shows their curves.
Each run has its settings, scores by class, curve, data, code version and pictures;
the variants' runs have the report, `index.html`, among their artifacts."""


def attempt(send: Callable[[], object]) -> bool:
    """Send what there is; return whether it was sent. A failure is reported and stops nothing."""
    try:
        return deliver(send)
    except InputError as error:
        print(f"tracking failed: {error}", file=sys.stderr)
        return False


def deliver(send: Callable[[], object]) -> bool:
    """Send what there is; return False if the store may take it later.

    Raises:
        InputError: the store will never take it as it is.
    """
    try:
        with _within(LIMIT):
            send()
    except (Exception, _TooLong) as error:  # any fault of the store: the files keep everything
        _client.cache_clear()
        reason = (str(error) or type(error).__name__).splitlines()[0]
        with suppress(OSError):
            UNSENT.write_text(reason + "\n", encoding="utf-8")
        if isinstance(error, InputError):
            raise
        if _is_refusal(error):
            raise InputError(
                f"the MLflow store {address.shown(address.uri())} cannot be used: {reason}; set "
                f"{address.VARIABLE} to another store, or unset it to use mlflow.db"
            ) from None
        print(f"tracking failed and will be repeated later: {reason}", file=sys.stderr)
        return False
    return True


def _is_refusal(error: BaseException) -> bool:
    """Return whether the store does not take this, now or later."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, ImportError):
        return True  # a database's driver
    waits = (408, 409, 425, 429)  # HTTP's answers that ask for another try
    if not isinstance(error, MlflowException):
        return False
    status = error.get_http_status_code()
    return 400 <= status < 500 and status not in waits


class _TooLong(BaseException):
    """Not an Exception: MLflow would catch it and try again, for minutes."""


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """End the block if it takes longer: a store that is locked or far away delays no training."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise _TooLong(f"the store did not answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def connect() -> tuple["MlflowClient", str]:
    """Return the client and the experiment's id; make both if several processes start at once.

    The experiment is looked up each time, because it can be deleted while a training runs.
    """
    with locked():
        client = _client()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None and experiment.lifecycle_stage == "active":
            return client, experiment.experiment_id
        if experiment is not None:
            _free_name(client, experiment.experiment_id)
        file = address.database(address.uri())
        artifacts = local.artifacts(file) if file else None  # a server has a place of its own
        tags = {"mlflow.note.content": NOTE, "mlflow.experimentKind": "custom_model_development"}
        return client, client.create_experiment(EXPERIMENT, artifacts, tags)


def _free_name(client: "MlflowClient", experiment: str) -> None:
    """Rename an experiment that was deleted in the pages; it stays deleted, with its runs."""
    client.restore_experiment(experiment)  # MLflow renames only what is active
    client.rename_experiment(experiment, f"{EXPERIMENT} (deleted, {experiment})")
    client.delete_experiment(experiment)


@cache
def _client() -> "MlflowClient":
    import logging

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")  # MLflow waits minutes if not told
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = address.uri()
    file = address.database(uri)
    if file and (reason := local.fault(file)):
        if not address.is_ours(file):
            raise _unusable(uri, reason)
        local.set_aside(file, reason)
    try:
        client = MlflowClient(uri)
    except MlflowException as error:
        if "out-of-date database schema" in error.message:  # of a database that is no file
            raise _unusable(uri, "its tables are of another version of MLflow") from None
        raise
    if file and Path.cwd().resolve() in file.resolve().parents:
        local.follow(file, EXPERIMENT)
    return client


def _unusable(uri: str, reason: str) -> InputError:
    return InputError(
        f"{address.VARIABLE} is {address.shown(uri)!r}; {reason}; if it is an older MLflow's, run "
        f"`mlflow db upgrade` with this URI; otherwise name another store, or unset it to use "
        f"mlflow.db"
    )


@contextmanager
def locked() -> Iterator[None]:
    with Path(".mlflow.lock").open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find(client: "MlflowClient", experiment: str, fingerprint: str) -> "Run | None":
    runs = client.search_runs([experiment], f"tags.{FINGERPRINT} = '{fingerprint}'", max_results=1)
    return runs[0] if runs else None
