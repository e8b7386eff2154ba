"""Bring MLflow up to date, print the link to the runs, and serve the pages of a local store.

    python -m pipeline.ui [PORT]

The port is 5000 if not given. A store that is a server has pages of its own.
"""

import os
import socket
import sys

from pipeline import track
from pipeline.common import cli
from pipeline.common.cli import InputError
from pipeline.tracking import address, store

HOST = "127.0.0.1"


def link(pages: str) -> str:
    """Return the address of the experiment's runs, in MLflow's view of trained models."""
    found: list[str] = []
    if not store.deliver(lambda: found.append(store.connect()[1])):
        return pages
    return f"{pages.rstrip('/')}/#/experiments/{found[0]}/runs?workflowType=machine_learning"


def port(words: list[str]) -> int:
    """Return the port that the words name, if nothing else listens there."""
    given = words[0] if words else "5000"
    if len(words) > 1 or not given.isdecimal() or not 0 < int(given) < 65536:
        raise InputError(f"the port is {' '.join(words)!r}; allowed is a number up to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, int(given)))
        except OSError as error:
            raise InputError(
                f"the port {given} cannot be used ({error.strerror}); name another one, as in "
                f"`make ui PORT=5001`"
            ) from None
    return int(given)


def command(number: int, uri: str) -> list[str]:
    """Return the command that serves a store's pages, for this machine only."""
    server = [sys.executable, "-W", "ignore", "-m", "mlflow"]
    return [*server, "ui", "--host", HOST, "--port", str(number), "--backend-store-uri", uri]


def main() -> None:
    uri = address.uri()
    if address.is_server(uri):
        track.main()
        print(f"MLflow's pages are at {link(address.shown(uri))}")
        return
    number = port(sys.argv[1:])
    track.main()
    print(f"MLflow's pages are at {link(f'http://{HOST}:{number}')}", flush=True)
    os.execv(sys.executable, command(number, uri))


if __name__ == "__main__":
    cli.run(main)
