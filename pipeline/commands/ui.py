"""Bring MLflow up to date, print the link to the runs, and serve the pages of a local store.

    python -m pipeline ui [PORT]

A server has its own pages.
"""

import os
import socket
import sys

from pipeline.engine.errors import InputError
from pipeline.settings import params
from pipeline.tracking import address, store
from pipeline.tracking.sync import send_all

HOST = "127.0.0.1"


def make_link(pages: str, profile: str) -> str:
    """Return the address of a profile's runs, in MLflow's view of trained models."""
    experiments: list[str] = []
    if not store.deliver(lambda: experiments.append(store.connect(profile)[1])):
        return pages
    return f"{pages.rstrip('/')}/#/experiments/{experiments[0]}/runs?workflowType=machine_learning"


def require_free(port: int) -> None:
    """Raise an InputError if another program listens on the port."""
    if not 0 < port < 65536:
        raise InputError(f"PORT must be a number from 1 to 65535, got {port}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InputError(
                f"the port {port} cannot be used ({error.strerror}); choose another one, as in "
                f"`make ui PORT=5001`"
            ) from None


def make_command(number: int, uri: str) -> list[str]:
    """Return the command that serves a store's pages to this machine only."""
    server = [sys.executable, "-W", "ignore", "-m", "mlflow"]
    return [*server, "ui", "--host", HOST, "--port", str(number), "--backend-store-uri", uri]


def main(port: int = 5000) -> None:
    uri, settings = address.read_uri(), params.load()
    is_server = address.is_server(uri)
    if not is_server:
        require_free(port)
    send_all(settings)
    pages = address.hide_credentials(uri) if is_server else f"http://{HOST}:{port}"
    print(f"MLflow's pages are at {make_link(pages, settings.profile)}", flush=True)
    if not is_server:
        os.execv(sys.executable, make_command(port, uri))
