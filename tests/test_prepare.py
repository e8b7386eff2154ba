"""The prepare stage: its digest, its two forms, room on the disk, and going on after a kill."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from pipeline.data.formats import DATASETS, Dataset, Pair
from pipeline.data.prepared import journal, samples
from pipeline.data.prepared.store import Store, Writer
from pipeline.engine.errors import InputError
from pipeline.engine.files import read_json
from pipeline.settings.paths import MANIFEST, locate_prepared
from pipeline.settings.records import Manifest
from pipeline.stages import prepare as stage
from pipeline.stages.prepare import prepare
from tests.conftest import ROOT
from tests.trees import TREES, camvid, image, label

CAMVID = DATASETS["camvid"]


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("decode", [True, False])
def test_the_digest_is_of_the_content(decode: bool, tmp_path: Path) -> None:
    digests = []
    for step in range(4):
        root = camvid(tmp_path / f"source{step}")
        if step == 2:
            label(root / "valannot" / "0001TP_000001.png", 12, seed=9)
        if step == 3:
            for folder in ("val", "valannot"):
                (root / folder / "0001TP_000002.png").rename(root / folder / "0001TP_000009.png")
        digests.append(prepare(CAMVID, root, tmp_path / f"out{step}", decode).digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def digests_of(manifest: Manifest) -> set[str]:
    return {part.digest for part in (manifest, manifest.splits.train, manifest.splits.val)}


def without_digests(manifest: Manifest) -> dict[str, Any]:
    names = {"train": {"digest"}, "val": {"digest"}}
    return manifest.model_dump(exclude={"digest": True, "splits": names})


@pytest.mark.parametrize("name", TREES)
def test_undecoded_samples_are_the_decoded_ones(name: str, tmp_path: Path) -> None:
    dataset, root = DATASETS[name], TREES[name](tmp_path / "source")
    manifests = [prepare(dataset, root, tmp_path / str(d), decode=d) for d in (True, False)]
    pixels, files = (digests_of(manifest) for manifest in manifests)
    assert pixels.isdisjoint(files)
    assert without_digests(manifests[0]) == without_digests(manifests[1])
    assert sorted(content(tmp_path / "False")) == ["manifest.json", "train.json", "val.json"]
    for split in ("train", "val"):
        decoded, published = (Store(tmp_path / str(d), split) for d in (True, False))
        assert (decoded.names, decoded.sizes) == (published.names, published.sizes)
        for i in range(len(decoded)):
            for a, b in zip(decoded[i], published[i], strict=True):
                assert np.asarray(a).dtype == np.asarray(b).dtype == np.uint8
                assert np.array_equal(a, b)


def test_an_undecoded_file_that_changed_is_refused(tmp_path: Path) -> None:
    root = camvid(tmp_path / "source")
    prepare(CAMVID, root, tmp_path / "out", decode=False)
    store = Store(tmp_path / "out", "val")
    image(root / "val/0001TP_000001.png", (20, 20))
    label(root / "valannot/0001TP_000001.png", 12, (20, 20))
    store[0]
    with pytest.raises(InputError, match=r"valannot/0001TP_000001\.png has changed; run"):
        store[1]


@pytest.mark.parametrize("decode", [True, False])
def test_a_store_holds_no_pixel(decode: bool, tmp_path: Path) -> None:
    root, size = tmp_path / "source", (512, 1024)
    files = image(tmp_path / "image.png", size), label(tmp_path / "label.png", 12, size)
    for folder, file in zip(("train", "trainannot"), files, strict=True):
        for split, count in ((folder, 24), (folder.replace("train", "val"), 1)):
            (root / split).mkdir(parents=True)
            for i in range(count):
                shutil.copy(file, root / split / f"{i:02d}.png")
    prepare(CAMVID, root, tmp_path / "out", decode=decode)
    store = Store(tmp_path / "out", "train")
    whole = sum(4 * h * w for h, w in store.sizes)
    store[0]
    before = psutil.Process().memory_info().rss
    for i in range(len(store)):
        store[i]
    assert psutil.Process().memory_info().rss - before < whole / 4
    assert len(pickle.dumps(store)) < 10_000  # what a worker that is not forked is sent


def test_the_counts_are_told_beside_the_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    camvid(tmp_path / "data")
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    text = text.replace("profile: embedded ", "profile: camvid ")
    (tmp_path / "params.yaml").write_text(
        text.replace("dir: data/embedded", "dir: data"), encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    stage.main()
    told = capsys.readouterr().out
    assert "6 images to decode need 0.1 MB; " in told
    assert "camvid train: 3 of the published 367 images, digest " in told
    assert read_json(locate_prepared("camvid") / MANIFEST)["splits"]["val"]["published"] == 101


def test_a_disk_without_room_is_refused_before_any_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, usage = camvid(tmp_path / "source"), namedtuple("usage", "total used free")
    need = 6 * 72 * 80 * 4
    for free in (need - 1, need):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage(0, 0, free))
        if free == need:
            prepare(CAMVID, root, tmp_path / "out")
            continue
        with pytest.raises(InputError, match=r"images to decode need 0\.1 MB and 0\.1 MB are free"):
            prepare(CAMVID, root, tmp_path / "out")
        assert not list(tmp_path.rglob("*.bin"))
        prepare(CAMVID, root, tmp_path / "undecoded", decode=False)


def test_a_disk_that_fills_up_is_told_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, add = camvid(tmp_path / "source"), Writer.add

    def full(writer: Writer, name: str, sample: object) -> None:
        if name == "0001TP_000002":
            raise OSError(28, "No space left on device")
        add(writer, name, sample)  # type: ignore[arg-type]

    monkeypatch.setattr(Writer, "add", full)
    with pytest.raises(InputError, match="the disk is full; free space and run it again"):
        prepare(CAMVID, root, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    left = SimpleNamespace(free=4 * 72 * 80 * 4)  # room for what is not there yet
    monkeypatch.setattr(shutil, "disk_usage", lambda _: left)
    prepare(CAMVID, root, tmp_path / "out")
    told = capsys.readouterr().out
    assert "6 images to decode need 0.1 MB more; " in told
    assert "decode train: resumes after 2 of 3" in told


# Kills itself without warning after `count` lines of the journals, as kill -9 would.
KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.data.formats import DATASETS
from pipeline.stages.prepare import prepare
from pipeline.data.prepared import journal
root, out, count, decode = sys.argv[1:]
left, add = [int(count)], journal.Journal.add
def dying(self, entry):
    if not left[0]:
        self._file.write('["torn')
        self._file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    add(self, entry)
journal.Journal.add = dying
prepare(DATASETS["camvid"], Path(root), Path(out), decode == "True")
"""


def killed(root: Path, out: Path, count: int, decode: bool = True) -> None:
    words = [sys.executable, "-c", KILLED, root, out, count, decode]
    done = subprocess.run(list(map(str, words)), cwd=ROOT, capture_output=True, timeout=100)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "decode", "told"),
    [
        (
            8,
            True,
            [
                "check train: resumes after 3",
                "check val: resumes after 3",
                "decode train: resumes after 2",
            ],
        ),
        (
            10,
            True,
            [
                "check train: resumes after 3",
                "check val: resumes after 3",
                "decode train: resumes after 3",
                "decode val: resumes after 1",
            ],
        ),
        (4, False, ["check train: resumes after 3", "check val: resumes after 1"]),
    ],
)
def test_a_killed_run_goes_on_and_ends_the_same(
    count: int, decode: bool, told: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = camvid(tmp_path / "source")
    prepare(CAMVID, root, tmp_path / "whole", decode)
    killed(root, tmp_path / "out", count, decode)
    capsys.readouterr()
    prepare(CAMVID, root, tmp_path / "out", decode)
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if "resumes" in line] == [f"{line} of 3" for line in told]
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["out", "source", "whole"]


def interrupt(root: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As killed, in this process, after two decoded samples."""
    left, add = [6 + 2], journal.Journal.add

    def dying(self: journal.Journal, entry: journal.Entry) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        add(self, entry)

    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "add", dying)
        with pytest.raises(KeyboardInterrupt):
            prepare(CAMVID, root, out)


def test_an_interrupt_ends_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, check, threads = (
        camvid(tmp_path / "source"),
        samples._check_sample,
        threading.active_count(),
    )
    for i in range(30):
        image(root / f"train/{i}.png", (4, 4))
        label(root / f"trainannot/{i}.png", 12, (4, 4))

    def slow(dataset: Dataset, pair: Pair) -> samples.Result:
        time.sleep(0.1)
        return check(dataset, pair)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(samples, "_check_sample", slow)
    monkeypatch.setattr(journal.Journal, "add", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:  # it is kept, as while a stage ends
        prepare(CAMVID, root, tmp_path / "out", decode=False)
    assert caught.tb
    assert threading.active_count() == threads


def longer(file: Path) -> None:
    """Another size at the same time."""
    time = file.stat().st_mtime_ns
    file.write_bytes(file.read_bytes() + b"0")
    os.utime(file, ns=(time, time))


@pytest.mark.parametrize("change", [lambda file: os.utime(file, ns=(1, 1)), longer])
def test_changed_files_start_anew(
    change: Callable[[Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = camvid(tmp_path / "source")
    interrupt(root, tmp_path / "out", monkeypatch)
    change(root / "val/0001TP_000002.png")
    capsys.readouterr()
    prepare(CAMVID, root, tmp_path / "out")
    assert "resumes" not in capsys.readouterr().out


def test_lost_bytes_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a power failure the journal may say more than the disk has."""
    root = camvid(tmp_path / "source")
    prepare(CAMVID, root, tmp_path / "whole")
    one = 72 * 80
    for name, size in (("train-images.bin", 100), ("train-labels.bin", one + 1)):
        for filled in (False, True):  # with zeros, to the old length
            interrupt(root, tmp_path / "out", monkeypatch)
            file = tmp_path / ".out.partial/content" / name
            length = file.stat().st_size
            os.truncate(file, size)
            os.truncate(file, length if filled else size)
            capsys.readouterr()
            prepare(CAMVID, root, tmp_path / "out")
            assert ("decode train: resumes after 1 of 3" in capsys.readouterr().out) == (size > one)
            assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("step", range(3))
def test_a_kill_at_the_end_leaves_old_or_new_data(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the old data go, between old and new, and before the partial folder goes."""
    root, out = camvid(tmp_path / "source"), tmp_path / "out"
    prepare(CAMVID, root, out)
    old = content(out)
    label(root / "trainannot/0001TP_000000.png", 12, seed=9)
    prepare(CAMVID, root, tmp_path / "new")
    new, calls, rename, rmtree = content(tmp_path / "new"), [0], Path.rename, shutil.rmtree

    def count() -> None:
        calls[0] += 1
        if calls[0] > step:
            raise KeyboardInterrupt

    def dying_rename(self: Path, target: Path) -> Path:
        count()
        return rename(self, target)

    def dying_rmtree(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            count()
        rmtree(path, ignore_errors)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dying_rename)
        patch.setattr(shutil, "rmtree", dying_rmtree)
        with pytest.raises(KeyboardInterrupt):
            prepare(CAMVID, root, out)
    assert (content(out) if out.exists() else None) == [old, None, new][step]
    prepare(CAMVID, root, out)
    assert content(out) == new
    assert not (tmp_path / ".out.partial").exists()
