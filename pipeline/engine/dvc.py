"""DVC's stages through its Python API: which are stale, which are cached, and what is recorded.

DVC itself runs one stage after another and rewrites dvc.lock after each. Here the caller runs them
in any order that respects `upstream`, several at a time, and dvc.lock is written now and then.
What ran is in DVC's run cache at once, so nothing runs again if dvc.lock misses it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.stage.cache import RunCacheNotFoundError

from pipeline.engine.errors import InputError

PROGRAM = "python -m pipeline "  # what each command of dvc.yaml starts with


class Stages:
    """The stages of dvc.yaml by name.

    Attributes:
        upstream: The names of the stages that each stage depends on directly.
        required: Those of them that make one of its dependencies. The others only add files to a
            folder that it depends on, such as the runs that `collect` gathers.
    """

    def __init__(self) -> None:
        logging.getLogger("dvc").setLevel(logging.CRITICAL)  # its errors arrive as exceptions
        with _convert_errors():
            self._repo = Repo(_wait_for_lock=True)
            graph = self._repo.index.graph
        self._stages: dict[str, Any] = {stage.addressing: stage for stage in graph}
        self.upstream = {
            stage.addressing: {other.addressing for other in graph.successors(stage)}
            for stage in graph
        }
        self.required = {
            stage.addressing: {
                other.addressing
                for other in graph.successors(stage)
                if any(
                    Path(dep.fs_path).is_relative_to(out.fs_path)
                    for out in other.outs
                    for dep in stage.deps
                )
            }
            for stage in graph
        }
        self._unwritten: list[Any] = []

    def words(self, name: str) -> list[str]:
        """Return the stage's command, without the program."""
        command: str = self._stages[name].cmd
        if not command.startswith(PROGRAM):
            raise InputError(f"dvc.yaml: the command of {name} must begin with `{PROGRAM.strip()}`")
        return command.removeprefix(PROGRAM).split()

    def is_current(self, name: str) -> bool:
        """Tell whether neither dependencies nor outputs have changed."""
        with self._hold_dvc_lock():
            return not self._stages[name].changed()

    def restore(self, name: str) -> bool:
        """Take the outputs from the run cache; otherwise make the stage ready to run.

        Returns:
            Whether the cache had them.
        """
        stage = self._stages[name]
        with self._hold_dvc_lock():
            stage.remove_outs(ignore_remove=False, force=False)
            try:
                self._repo.stage_cache.restore(stage)
            except RunCacheNotFoundError:
                stage.save_deps()
                return False
        self.record(name)
        return True

    def record(self, name: str) -> None:
        """Put a stage that ran into DVC's caches; `write` puts it into dvc.lock."""
        stage = self._stages[name]
        before = [dep.hash_info for dep in stage.deps]
        with self._hold_dvc_lock():
            stage.save(run_cache=all(out.use_cache for out in stage.outs if not out.is_metric))
            if [dep.hash_info for dep in stage.deps] != before:
                raise InputError(f"{name}: what it depends on changed while it ran; run it again")
            stage.commit()
        self._unwritten.append(stage)

    def write(self) -> None:
        """Write what was recorded to dvc.lock."""
        if self._unwritten:
            with self._hold_dvc_lock():
                self._unwritten[0].dvcfile.dump_stages(self._unwritten, update_pipeline=False)
            self._unwritten = []

    @contextmanager
    def _hold_dvc_lock(self) -> Iterator[None]:
        """Hold DVC's lock, as its own commands do."""
        with _convert_errors(), self._repo.lock, self._repo.scm_context():
            yield


@contextmanager
def _convert_errors() -> Iterator[None]:
    try:
        yield
    except DvcException as error:
        raise InputError(f"DVC: {error}") from None
