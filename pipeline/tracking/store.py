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

if TYPE_CHECKING:  # importing mlflow takes seconds, and short runs never need it
    from mlflow import MlflowClient
    from mlflow.entities import Run

LOCAL_STORE = "sqlite:///mlflow.db"
EXPERIMENT = "ann"
UNSENT = Path(".mlflow.unsent")  # there while something could not be sent
LIMIT = float(os.environ.get("ANN_TRACK_LIMIT", "60"))  # seconds for one run, MLflow's import too
FINGERPRINT = "fingerprint"  # the tag that names a run in every store
NOTE = """**ANN, reproduced.** A run stands for a variant; open it for its seeds.
To compare two variants, tick both and press *Compare*; *Chart view* shows their curves.
Each run has its settings, scores by class, curve, data, code version and pictures;
the variants' runs have the report, `index.html`, among their artifacts."""


def attempt(send: Callable[[], object]) -> bool:
    """Send what there is; a failure is told, remembered and stops nothing. Whether it was sent."""
    try:
        with _within(LIMIT):
            send()
    except (Exception, _TooLong) as error:  # any fault of the store: the files keep everything
        connect.cache_clear()
        reason = (str(error) or type(error).__name__).splitlines()[0]
        print(f"tracking failed and will be repeated later: {reason}", file=sys.stderr)
        with suppress(OSError):
            UNSENT.write_text(reason + "\n", encoding="utf-8")
        return False
    return True


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


@cache
def connect() -> tuple["MlflowClient", str]:
    """The client and the experiment's id; makes both, safely when several start at once."""
    import logging

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")  # MLflow waits minutes if not told
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    uri = os.environ.get("MLFLOW_TRACKING_URI") or LOCAL_STORE
    with locked():
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return client, experiment.experiment_id
        artifacts = Path("mlartifacts").resolve().as_uri() if uri == LOCAL_STORE else None
        tags = {"mlflow.note.content": NOTE, "mlflow.experimentKind": "custom_model_development"}
        return client, client.create_experiment(EXPERIMENT, artifacts, tags)


@contextmanager
def locked() -> Iterator[None]:
    with Path(".mlflow.lock").open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find(client: "MlflowClient", experiment: str, fingerprint: str) -> "Run | None":
    runs = client.search_runs([experiment], f"tags.{FINGERPRINT} = '{fingerprint}'", max_results=1)
    return runs[0] if runs else None
