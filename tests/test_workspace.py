"""`dvc exp run --temp` and `--queue` find what params.yaml names by a relative path."""

from pathlib import Path

import pytest

from pipeline.engine import workspace, yaml_file
from pipeline.engine.errors import InputError
from tests.conftest import copy_tracked, small, write_claims
from tests.trees import camvid


@pytest.mark.parametrize("copy", ["standalone/tmp1", "tmp2"])  # of --temp and of --queue
def test_a_relative_path_is_linked_in_a_copy_alone(
    copy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "repository/.dvc/tmp/exps" / copy
    temporary.mkdir(parents=True)
    held = tmp_path / "repository/data/held/file"
    held.parent.mkdir(parents=True)
    held.write_text("x")
    (tmp_path / "outside").mkdir()
    monkeypatch.chdir(tmp_path / "repository")
    workspace.link("dataset_dir", Path("data/none"))
    assert not Path("data/none").is_symlink()
    monkeypatch.chdir(temporary)
    for _ in range(2):
        workspace.link("dataset_dir", Path("data/held"))
        assert Path("data/held/file").read_text(encoding="utf-8") == "x"
    workspace.link("dataset_dir", Path("data/none"))
    assert not Path("data/none").is_symlink()
    with pytest.raises(
        InputError, match=r"dataset_dir must be the absolute path /.*, because '\.\./outside'"
    ):
        workspace.link("dataset_dir", Path("../outside"))


@pytest.mark.slow
def test_dvc_prepares_a_relative_dataset_in_a_temporary_copy(tmp_path: Path) -> None:
    clone = copy_tracked(tmp_path)
    file = tmp_path / "params.yaml"
    settings = small(yaml_file.read_yaml(file)) | {
        "profile": "camvid",
        "dataset_dir": "data/CamVid",
    }
    yaml_file.write_yaml(file, settings)
    write_claims(tmp_path, settings["variants"])
    camvid(tmp_path / "data/CamVid")
    clone.commit()
    before = sorted(f.name for f in (tmp_path / "data/CamVid").rglob("*"))
    for _ in range(2):  # the second one finds what is prepared in DVC's cache
        words = "--temp", "-S", "profiles.camvid.prepare.decode=false", "prepare"
        told = clone.run("dvc", "exp", "run", *words)
        assert "Ran experiment" in told
    assert sorted(f.name for f in (tmp_path / "data/CamVid").rglob("*")) == before
