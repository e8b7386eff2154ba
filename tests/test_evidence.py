"""Results of several machines, revisions and people: merge, compare and score."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.commands import compare, merge
from pipeline.data.formats import DATASETS, scene
from pipeline.engine import yaml_file
from pipeline.engine.errors import InputError
from pipeline.settings import params, records
from pipeline.settings.paths import locate_results
from pipeline.settings.records import ExternalLine, Line, RunLine
from pipeline.stages import index, prepare
from tests import recorded
from tests.conftest import ROOT, command_line, small, write_claims

SETTINGS = params.load(ROOT / "params.yaml")
ZEROS = "0" * 64
FILES = ("a.jsonl", "b.jsonl")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped settings and claims, and no results."""
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "reports/claims.yaml", "reports/published.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def write(**lines: list[Line]) -> None:
    for name, own in lines.items():
        records.write_lines(Path(f"{name}.jsonl"), own)


def run(variant: str, seed: int, miou: float = 0.5, **changes: Any) -> RunLine:
    return recorded.run(variant, seed, miou, **{"record.config.seed": seed} | changes)


def test_a_merge_has_each_run_once_in_the_order_of_params_yaml(workplace: Path) -> None:
    write(
        a=[run("ann", 1), run("baseline", 0), recorded.failure("ann", 0)],
        b=[run("ann", 0, 0.6), run("baseline", 0)],
    )
    command_line("merge", "both", *FILES)
    lines = records.read_lines(locate_results("both").read_text(encoding="utf-8"), Path("x"))
    assert [line.identity for line in lines] == [
        ("run", "baseline", 0),
        ("run", "ann", 0),  # whose failure elsewhere is past
        ("run", "ann", 1),
    ]
    with pytest.raises(InputError, match=r"results/both.jsonl exists; give another name"):
        merge.main("both", [Path("a.jsonl")])
    command_line("merge", "both", locate_results("both"), *FILES)  # it is among the files
    index.main()
    assert "| both " in Path("reports/README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        (run("ann", 0, 0.51), "run ann-0 differs between a.jsonl and b.jsonl; keep one"),
        (
            run("ann", 1, **{"record.code.digest": ZEROS}),
            f"code digest must be the same in all files: it is {ZEROS} for run ann-1",
        ),
        (
            run("ann", 1, **{"scores.dataset_digest": ZEROS}),
            f"dataset digest must be the same in all files: it is {ZEROS} for ru",
        ),
        (
            run("ann", 1, **{"record.config.train.power": 2.0}),
            "power must be the same in all files: it is 2.0",
        ),
        (
            run("ann", 1, **{"record.profile": "camvid"}),
            "profile must be the same in all files: it is c",
        ),
    ],
)
def test_other_code_data_and_settings_are_never_pooled(
    second: RunLine, sentence: str, workplace: Path
) -> None:
    write(a=[run("ann", 0)], b=[second])
    with pytest.raises(InputError) as caught:
        merge.main("both", list(map(Path, FILES)))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not locate_results("both").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "a.jsonl, line 1: it is not valid JSON"),
        ('{"version": 0, "kind": "run"}', "a.jsonl, line 1: version must be 1, got 0"),
        (json.dumps(run("ann", 0).as_json())[:-9], "a.jsonl, line 1: it is not valid JSON"),
        (None, "a.jsonl cannot be read (No such file or directory)"),
    ],
)
def test_a_file_that_is_no_results_file(text: str | None, sentence: str, workplace: Path) -> None:
    if text is not None:
        Path("a.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        merge.main("both", [Path("a.jsonl")])
    assert sentence in str(caught.value)


@pytest.mark.parametrize("name", ["embedded", "../x", "B", ""])
def test_a_name_that_is_none_of_an_experiment(name: str, workplace: Path) -> None:
    write(a=[run("ann", 0)])
    with pytest.raises(InputError, match=f"NAME must .* got '{name}'"):
        merge.main(name, [Path("a.jsonl")])


def curve(end: float, early: float = 1.0) -> dict[int, float]:
    return {i: early * 3 / i if i < 50 else end for i in range(1, 101)}


@pytest.mark.parametrize(
    ("change", "losses", "words"),
    [
        ({}, curve(9.0), compare.IDENTICAL),
        ({"record.weights_sha256": ZEROS}, curve(1.1, 1.01), compare.WITHIN),
        ({"record.weights_sha256": ZEROS}, curve(1.0, 1.02), compare.OUTSIDE),
        ({"record.weights_sha256": ZEROS}, curve(1.2), compare.OUTSIDE),
        ({"record.weights_sha256": ZEROS}, {1: 3.0}, compare.OUTSIDE),
        ({"record.weights_sha256": ZEROS}, None, compare.UNKNOWN),
    ],
)
def test_how_far_two_runs_are_the_same(
    change: dict[str, Any], losses: dict[int, float] | None, words: str
) -> None:
    key = ("ann", 0)
    before = compare.Side("before", [run("ann", 0)], {key: curve(1.0)})
    after = compare.Side("after", [run("ann", 0, **change)], {key: losses} if losses else {})
    assert compare.compare_run(before, after, key) == words


def test_compare_names_rows_and_verdicts_that_changed(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows(nb: list[float]) -> list[Line]:
        base = [run("baseline", seed, x) for seed, x in enumerate((0.45, 0.46, 0.47))]
        return [*base, *(run("nb", seed, x) for seed, x in enumerate(nb))]

    write(a=rows([0.65, 0.661, 0.669]), b=rows([0.65, 0.661, 0.669]))
    command_line("compare", *FILES)
    told = capsys.readouterr().out
    assert "0 verdicts changed" in told
    assert "3 identical" in told
    write(b=rows([0.48, 0.43, 0.47]))
    with pytest.raises(SystemExit) as ended:
        command_line("compare", *FILES)
    assert ended.value.code == 1
    told = capsys.readouterr().out
    assert "Non-local context helps. supported -> undecided" in told
    (row,) = [line for line in told.splitlines() if line.startswith("| nb ")]
    assert [cell.strip() for cell in row.split("|")[3:6]] == ["66.00", "46.00", "-20.00"]


def test_compare_takes_revisions_and_their_curves(workplace: Path) -> None:
    place = locate_results("embedded")
    place.parent.mkdir()
    records.write_lines(place, [run("ann", 0)])
    curves = Path("reports/embedded/curves.csv")
    curves.parent.mkdir()
    curves.write_text("variant,seed,iteration,loss\nann,0,1,0.5\n", encoding="utf-8")
    os.system("git init -q && git add -A && git -c user.name=a -c user.email=b commit -qm one")
    for word in ("HEAD", "HEAD:reports/results/embedded.jsonl", str(place)):
        side = compare.read_side(word, "embedded")
        assert list(side.runs) == [("ann", 0)]
        if word != "HEAD:reports/results/embedded.jsonl":
            assert side.curves == {("ann", 0): {1: 0.5}}
    with pytest.raises(InputError, match="'nowhere' is no file, and git has no reports/results/em"):
        compare.read_side("nowhere", "embedded")


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Prepared scenes under a profile that takes them for the real Cityscapes."""
    monkeypatch.chdir(tmp_path)
    settings = small(yaml_file.read_yaml(ROOT / "params.yaml"))
    settings |= {"profile": "cityscapes", "dataset_dir": "scenes"}
    settings["data"]["cityscapes"] = "scenes"
    yaml_file.write_yaml(Path("params.yaml"), settings)
    write_claims(tmp_path, settings["variants"])
    Path("reports/published.yaml").write_bytes((ROOT / "reports/published.yaml").read_bytes())
    scene.write(Path("scenes"), counts={"train": 2, "val": 3}, seed=0, height=64, width=128)
    prepare.main()
    return tmp_path


def predict_labels(folder: Path) -> list[Path]:
    """Write the true labels, with class 7 wherever there is none."""
    folder.mkdir()
    files = []
    for label in sorted(Path("scenes/gtFine/val").rglob("*_labelIds.png")):
        values = np.asarray(Image.open(label)).copy()
        values[DATASETS["cityscapes"].lookup[values] > 18] = 7
        files.append(folder / label.name)
        Image.fromarray(values).save(files[-1])
    return files


def test_label_files_of_others_are_scored_and_shown(
    drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (first, *_) = predict_labels(drawn / "theirs")
    command_line("score", "theirs", "perfect", "--source", "their page")
    assert "mIoU 100.00 of 3 images" in capsys.readouterr().out
    file = locate_results("external_perfect")
    (line,) = records.read_lines(file.read_text(encoding="utf-8"), file)
    assert isinstance(line, ExternalLine)
    assert (line.protocol, line.scores.miou, line.source) == ("external", 1.0, "their page")
    values = np.asarray(Image.open(first)).copy()
    values[:, :64] = 23  # sky
    Image.fromarray(values).save(first)
    command_line("score", "theirs", "worse", "--source", "again")
    index.main()
    table = pd.read_csv("reports/tables/cityscapes.csv").set_index("method")
    assert table.loc["perfect", "val external"] == 100
    assert table.loc["worse", "val external"] < 100
    assert table.loc["worse", "training"] == "again"
    confusion = records.read_lines(
        locate_results("external_worse").read_text(encoding="utf-8"), file
    )[0]
    assert isinstance(confusion, ExternalLine)
    counts = np.array(confusion.scores.confusion)
    assert counts.sum() == np.array(line.scores.confusion).sum()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: f.unlink(), "theirs lacks scene_000000_000001.png"),
        (
            lambda f: Image.new("L", (128, 64), 7).save(f.parent / "more.png"),
            "more.png is of no",
        ),
        (lambda f: Image.new("L", (128, 64), 7).save(f"{str(f)[:-4]}_b.png"), "are both of "),
        (
            lambda f: Image.new("L", (64, 64), 7).save(f),
            "is of 64x64 pixels; its image is of 128",
        ),
        (lambda f: Image.new("L", (128, 64), 0).save(f), "got 0, which is no class"),
        (lambda f: f.write_bytes(b"no"), "theirs/"),
    ],
    ids=["missing", "extra", "twice", "size", "value", "broken"],
)
def test_a_wrong_folder_is_one_sentence_and_nothing_is_written(
    damage: Any, sentence: str, drawn: Path
) -> None:
    damage(predict_labels(drawn / "theirs")[1])
    with pytest.raises(InputError) as caught:
        command_line("score", "theirs", "wrong", "--source", "x")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not locate_results("external_wrong").exists()
