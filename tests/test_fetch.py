"""Published checkpoints: downloaded whole and checked, or one sentence and nothing changed."""

import functools
import hashlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import yaml

from pipeline.commands import fetch_checkpoint
from pipeline.engine.errors import InputError
from pipeline.settings import params
from tests.conftest import ROOT, command_line

CONTENT = b"weights" * 10**5
DIGEST = hashlib.sha256(CONTENT).hexdigest()[:8]
NAME = "ann_r50_d8"
FILE = f"ann_r50-d8/ann_r50-d8_x-{DIGEST}.pth"


class Quiet(SimpleHTTPRequestHandler):
    """A server that counts what it is asked for."""

    asked: list[str] = []  # noqa: RUF012

    def log_message(self, *_: object) -> None:
        self.asked.append(self.path)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The shipped settings, a catalogue of one checkpoint on a local server, an empty cache."""
    served = tmp_path / "served" / FILE
    served.parent.mkdir(parents=True)
    served.write_bytes(CONTENT)
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "served"))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    row = {"dataset": "cityscapes", "backbone": "ResNet-50", "file": FILE, "ss": 1.0}
    (tmp_path / "reports").mkdir()
    catalogue = {"checkpoints": {"mmsegmentation": {"base": base, "files": [row]}}}
    (tmp_path / "reports/published.yaml").write_text(yaml.safe_dump(catalogue), encoding="utf-8")
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    Quiet.asked.clear()
    yield tmp_path
    server.shutdown()


def cached(folder: Path) -> list[str]:
    return sorted(f.name for f in (folder / "cache").rglob("*") if f.is_file())


def test_a_checkpoint_is_fetched_once_and_listed(workplace: Path) -> None:
    before = Path("params.yaml").read_text(encoding="utf-8")
    command_line("fetch-checkpoint", NAME)
    file = workplace / "cache/checkpoints" / Path(FILE).name
    assert file.read_bytes() == CONTENT
    assert cached(workplace) == [file.name]
    listed = params.load().checkpoints[NAME]
    assert (listed.file, listed.layout) == (str(file), "mmseg")
    changed = Path("params.yaml").read_text(encoding="utf-8")
    assert [line for line in before.splitlines() if line not in changed] == ["checkpoints: {}"]
    command_line("fetch-checkpoint", NAME)
    assert len(Quiet.asked) == 1
    assert Path("params.yaml").read_text(encoding="utf-8") == changed


def refused(sentence: str, folder: Path, name: str = NAME) -> None:
    before = Path("params.yaml").read_bytes()
    with pytest.raises(InputError) as caught:
        command_line("fetch-checkpoint", name)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert Path("params.yaml").read_bytes() == before
    assert cached(folder) == []


def test_another_digest_is_refused_and_removed(workplace: Path) -> None:
    (workplace / "served" / FILE).write_bytes(b"other")
    found = hashlib.sha256(b"other").hexdigest()[:8]
    refused(f"begins with {found}, not with {DIGEST}; the download is removed", workplace)


def test_no_file_and_no_network_are_one_sentence(workplace: Path) -> None:
    (workplace / "served" / FILE).unlink()
    refused("could not be downloaded (File not found); run the command again", workplace)
    catalogue = Path("reports/published.yaml")
    text = catalogue.read_text(encoding="utf-8")
    catalogue.write_text(text.replace("127.0.0.1:", "127.0.0.1:1#"), encoding="utf-8")
    refused("could not be downloaded (", workplace)


def test_an_unknown_name_and_a_name_that_is_taken(workplace: Path) -> None:
    refused(f"NAME must be one of {NAME}, got 'ann'", workplace, "ann")
    text = Path("params.yaml").read_text(encoding="utf-8")
    other = f"checkpoints:\n  {NAME}: {{file: mine.pth, layout: mmseg}}"
    Path("params.yaml").write_text(text.replace("checkpoints: {}", other), encoding="utf-8")
    refused(f"checkpoints.{NAME} is mine.pth already", workplace)


def test_the_shipped_catalogue() -> None:
    catalogue = fetch_checkpoint.read_catalogue(ROOT / "reports/published.yaml")
    assert len(catalogue) == 12
    for published in catalogue.values():
        assert len(published.digest_start) == 8
        int(published.digest_start, 16)
