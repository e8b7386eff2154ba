"""A process that has the slow libraries imported and forks the stages of `make repro` from itself.

Importing PyTorch and Fabric takes seconds, and `make repro` starts about a hundred short stages.
DVC runs the same commands as ever; where ANN_WARM names this process's socket, `python -m
pipeline.STAGE` hands itself over to a fork of it and ends with its exit status. The libraries
are warm, the project's own modules are not: each stage reads them from the disk when it starts.
"""

import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.common.orphans import end_with_parent

VARIABLE = "ANN_WARM"
LIBRARIES = (
    *("lightning_fabric", "matplotlib.pyplot", "numpy", "pandas", "pydantic", "rich.progress"),
    *("safetensors.torch", "scipy.stats", "yaml"),
)
COLD = ("pipeline.efficiency", "pipeline.networks")  # what they measure is of a new process
MESSAGE = 1 << 17  # bytes; what Linux lets a message have is more


@contextmanager
def server() -> Iterator[dict[str, str]]:
    """The environment in which stages start warm; nothing on a system where a fork is not safe."""
    if sys.platform != "linux":
        yield {}
        return
    with tempfile.TemporaryDirectory() as folder:
        address = str(Path(folder) / "socket")
        command = [sys.executable, "-m", "pipeline.common.warm", address]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        try:
            yield {VARIABLE: address}
        finally:
            process.terminate()
            process.wait()


def hand_over(address: str) -> None:
    """Run this `python -m` in a fork of the warm process and end as it does, if there is one."""
    if "-m" not in sys.orig_argv:
        return
    words = sys.orig_argv[sys.orig_argv.index("-m") + 1 :]
    if words[0] in COLD:
        return
    message = json.dumps({"words": words, "folder": str(Path.cwd()), "environment": {**os.environ}})
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(address)
        socket.send_fds(connection, [message.encode()], [0, 1, 2])
    except OSError:  # not there yet, or no longer, or the message is too long
        return
    end_with_parent()
    answer = connection.recv(1)
    os._exit(answer[0] if answer else 128 + signal.SIGKILL)


def serve(address: str) -> None:
    """Fork a stage for each connection until the standard input is closed."""
    for library in LIBRARIES:
        __import__(library)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen()
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while all(key.fileobj is listener for key, _ in selector.select()):
            connection, _ = listener.accept()
            if os.fork() == 0:
                _stage(connection)
            connection.close()


def _stage(connection: socket.socket) -> None:
    """In the fork: become the process that asked, and tell it the exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    end_with_parent()
    message, files, *_ = socket.recv_fds(connection, MESSAGE, 3)
    asked = json.loads(message)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    # Python's own streams were made for the files of the warm process, which may differ in kind.
    sys.stdout, sys.stderr = (
        os.fdopen(number, "w", encoding=old.encoding, errors=old.errors, closefd=False, buffering=b)
        for number, old, b in ((1, sys.stdout, -1), (2, sys.stderr, 1))
    )
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update({k: v for k, v in asked["environment"].items() if k != VARIABLE})
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    sys.argv = asked["words"]
    status = 1
    try:
        runpy.run_module(asked["words"][0], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        connection.send(bytes([status & 255]))
    os._exit(status)


def _end_with(connection: socket.socket) -> None:
    """A stage that was killed takes its fork along."""
    connection.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    serve(sys.argv[1])
