"""MLflow's store is a view: it follows the clone, and what is deleted or unusable is made again."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from pipeline.commands import ui
from pipeline.engine.errors import InputError
from pipeline.settings import params
from pipeline.tracking import address, runs, store, variants
from pipeline.tracking.local import update_addresses
from tests.recorded import scores
from tests.test_tracking import record

CURVE = [{"iteration": 7, "loss": 0.5, "lr": 0.1}]
_SHOWN = {"miou": 0.5, "pixel_accuracy": 0.5, "classes_present": 1, "class_iou": {"road": 0.5}}
SCORES = scores(**_SHOWN)


def enter(folder: Path, patch: pytest.MonkeyPatch) -> MlflowClient:
    """Work in a clone, with the clone's own store; return a client of the latter.

    The address is absolute, because MLflow keeps the connections of an address in this process.
    """
    patch.chdir(folder)
    patch.setenv(address.VARIABLE, f"sqlite:///{folder}/mlflow.db")
    store._make_client.cache_clear()
    _artifact_repos_cache.clear()  # by MLflow in each process, which is in one clone only
    return MlflowClient(f"sqlite:///{folder}/./mlflow.db")


def send(seed: int = 0) -> str:
    """Send a finished run and its variant, as `track` does; return MLflow's id of the run."""
    own = record(seed, **{"speed.seconds": 1.0})
    Path("scores.json").write_text("{}", encoding="utf-8")
    store._make_client.cache_clear()
    page = runs.send(own, CURVE, SCORES, [Path("scores.json")])
    variants.send([variants.ScoredRun(own, CURVE, SCORES)], Path("none.html"))
    return page


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A clone with one run in its store."""
    folder = tmp_path_factory.mktemp("original")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv(address.VARIABLE, f"sqlite:///{folder}/mlflow.db")
        send()
        yield folder
    store._make_client.cache_clear()


@pytest.fixture
def copy(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, MlflowClient]]:
    """A copy of that clone in another folder, and a client of its store."""
    folder = tmp_path / "a copy, näher"
    shutil.copytree(original, folder)
    yield folder, enter(folder, monkeypatch)
    store._make_client.cache_clear()


def change(file: Path, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement, values)


def files(folder: Path) -> set[Path]:
    return {file for file in folder.rglob("*") if file.is_file()}


def pages(client: MlflowClient) -> dict[str, Any]:
    """The runs that MLflow shows, by their fingerprint."""
    experiment = client.get_experiment_by_name("ann-embedded")
    assert experiment
    assert experiment.lifecycle_stage == "active"
    found = client.search_runs([experiment.experiment_id])
    assert len(found) == len({run.data.tags["fingerprint"] for run in found})
    return {run.data.tags["fingerprint"]: run for run in found}


def test_a_copied_clone_writes_and_reads_its_own_files(
    original: Path, copy: tuple[Path, MlflowClient]
) -> None:
    folder, client = copy
    before = files(original)
    page = send(1)
    assert files(original) == before
    (_,) = (folder / "mlartifacts" / page).rglob("scores.json")
    for run in pages(client).values():
        assert run.info.artifact_uri.startswith((folder / "mlartifacts").as_uri() + "/")
    old = pages(client)[record(0).fingerprint].info.run_id
    assert {f.path for f in client.list_artifacts(old)} >= {"scores.json"}


def test_each_profile_is_an_experiment_that_moves_with_the_clone(
    copy: tuple[Path, MlflowClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, client = copy
    own = record(0, profile="camvid", fingerprint="c" * 16)
    runs.send(own, CURVE)
    assert sorted(e.name for e in client.search_experiments() if e.name != "Default") == [
        "ann-camvid",
        "ann-embedded",
    ]
    assert len(pages(client)) == 2  # of the other profile, as before
    update_addresses(folder / "mlflow.db", "another-")
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    monkeypatch.chdir(moved)
    update_addresses(moved / "mlflow.db", store.PREFIX)
    with closing(sqlite3.connect(moved / "mlflow.db")) as connection:
        query = "SELECT artifact_location FROM experiments WHERE name LIKE 'ann-%'"
        found = {location for (location,) in connection.execute(query)}
    assert found == {(moved / "mlartifacts").as_uri()}


def test_a_folder_that_the_user_chose_stays(
    copy: tuple[Path, MlflowClient], tmp_path: Path
) -> None:
    folder, client = copy
    chosen = (tmp_path / "large disk").as_uri()
    change(folder / "mlflow.db", "UPDATE experiments SET artifact_location = ?", chosen)
    page = send(1)
    assert client.get_run(page).info.artifact_uri == f"{chosen}/{page}/artifacts"


def test_deleted_files_are_sent_again(copy: tuple[Path, MlflowClient]) -> None:
    folder, _ = copy
    shutil.rmtree(folder / "mlartifacts")
    page = send()
    assert list((folder / "mlartifacts" / page).rglob("scores.json"))


def test_a_deleted_experiment_is_made_again_and_stays_in_the_bin(
    copy: tuple[Path, MlflowClient],
) -> None:
    _, client = copy
    for number in (1, 2):
        experiment = client.get_experiment_by_name("ann-embedded")
        assert experiment
        client.delete_experiment(experiment.experiment_id)
        send()
        assert len(pages(client)) == 2
        assert client.get_experiment(experiment.experiment_id).lifecycle_stage == "deleted"
        assert len(client.search_experiments(view_type=2)) == number  # 2: what was deleted


@pytest.mark.parametrize("parents", [(True,), (False,), (True, False)])
def test_deleted_runs_are_made_again(
    copy: tuple[Path, MlflowClient], parents: tuple[bool, ...]
) -> None:
    _, client = copy
    for run in pages(client).values():
        if ("mlflow.parentRunId" not in run.data.tags) in parents:
            client.delete_run(run.info.run_id)
    send()
    found = pages(client)
    variant = found[runs.fingerprint_variant(record(0))].info
    assert found[record(0).fingerprint].data.tags["mlflow.parentRunId"] == variant.run_id
    assert variant.run_name.startswith("apnb: 50.0")


def as_garbage(file: Path) -> None:
    file.write_text("no database" * 100, encoding="utf-8")


def as_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def as_version(number: str) -> Callable[[Path], None]:
    return lambda file: change(file, "UPDATE alembic_version SET version_num = ?", number)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (as_version("bd07f7e963c5"), "its tables are of an older version of MLflow"),
        (as_version("ffffffffffff"), "its tables are of another version of MLflow"),
        (as_garbage, "it is no database"),
        (as_folder, "it is a folder"),
        (lambda file: change(file, "DROP TABLE latest_metrics"), "lacks MLflow's table latest_"),
    ],
)
def test_the_clones_own_unusable_database_is_made_again(
    copy: tuple[Path, MlflowClient],
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    reason: str,
) -> None:
    folder, _ = copy
    spoil(folder / "mlflow.db")
    send()
    assert reason in capsys.readouterr().err
    assert (folder / "mlflow.db.old1").exists()
    assert len(pages(MlflowClient(f"sqlite:///{folder}/../{folder.name}/mlflow.db"))) == 2


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("./mlruns", "to which MLflow no longer writes"),
        ("mlruns", "to which MLflow no longer writes"),
        ("file:///tmp/mlruns", "to which MLflow no longer writes"),
        ("localhost:5000", "must be a server's address"),
        ("http://", "must be a server's address"),
        ("postgres://me:secret@host/runs", "must be a server's address"),
        ("sqlite:///other.db", "it is no database"),
    ],
)
def test_what_the_user_must_change_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: str,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(address.VARIABLE, given)
    as_garbage(Path("other.db"))
    store._make_client.cache_clear()
    with pytest.raises(InputError, match=reason) as refusal:
        store.deliver(lambda: runs.send(record(0), []))
    assert address.VARIABLE in str(refusal.value)
    assert "secret" not in str(refusal.value)
    assert not store.attempt(lambda: runs.send(record(0), []))  # a training goes on
    assert "later" not in capsys.readouterr().err
    assert Path("other.db").exists()


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9/", "sqlite:///mlflow.db"])
def test_the_pages_open_at_the_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], uri: str
) -> None:
    monkeypatch.setenv(address.VARIABLE, uri)
    monkeypatch.setattr(params, "load", lambda: SimpleNamespace(profile="camvid"))
    monkeypatch.setattr(ui, "send_all", lambda _: None)
    monkeypatch.setattr(store, "connect", lambda profile: (None, {"camvid": "7"}[profile]))
    started: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda _, words: started.append(words))
    ui.main(58765)
    server = "http://127.0.0.1:9" if address.is_server(uri) else "http://127.0.0.1:58765"
    assert f"{server}/#/experiments/7/runs?workflowType=machine_learning" in capsys.readouterr().out
    assert len(started) == (not address.is_server(uri))


def test_a_port_that_is_taken_is_said() -> None:
    import socket

    with socket.create_server((ui.HOST, 0)) as other, pytest.raises(InputError, match="PORT=5001"):
        ui.require_free(other.getsockname()[1])
