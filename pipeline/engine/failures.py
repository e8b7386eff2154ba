"""Describe why a run fails, and keep the reason beside the run's files for the collect stage."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.engine.errors import RunError

_NOT_REPEATABLE = "does not have a deterministic implementation"
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")


@contextmanager
def record_failure(file: Path, write: Callable[[str, int | None], None]) -> Iterator[None]:
    """Write why the run in the block failed; remove the file if the run succeeds.

    Args:
        file: The file that `write` writes.
        write: Takes the reason, and the iteration if there is one.
    """
    try:
        yield
    except RunError as error:
        with suppress(OSError):  # the user must see the reason itself
            write(str(error), error.iteration)
        raise
    file.unlink(missing_ok=True)


@contextmanager
def convert_memory_errors(describe: Callable[[], tuple[str, int | None]]) -> Iterator[None]:
    """Raise a RunError if the block runs out of memory.

    Args:
        describe: Returns the message, and the iteration if there is one.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_memory_error = isinstance(error, MemoryError) or any(
            words in str(error) for words in _NO_MEMORY
        )
        if not is_memory_error:
            raise
        message, iteration = describe()
        raise RunError(message, iteration) from None


@contextmanager
def convert_unrepeatable(name: str) -> Iterator[None]:
    """Raise a RunError if the block needs a kernel that is not repeatable, where all must be.

    Args:
        name: The run's name.
    """
    try:
        yield
    except RuntimeError as error:
        operation, found, _ = str(error).partition(_NOT_REPEATABLE)
        if not found:
            raise
        raise RunError(
            f"{name}: {operation.strip()} has no repeatable kernel on CUDA; set "
            f"train.deterministic to false, or replace it in the network"
        ) from None
