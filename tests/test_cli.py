"""The command line: its help, its refusals, and what it does not import before a command runs."""

import os
import subprocess
import sys
from typing import Any

import pytest
import typer

from pipeline import __main__ as cli
from pipeline.engine import yaml_file
from tests.conftest import ROOT

COMMANDS: dict[str, Any] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
STAGES = yaml_file.read_yaml(ROOT / "dvc.yaml")["stages"]
SLOW_LIBRARIES = ("dvc", "lightning_fabric", "matplotlib", "mlflow", "numpy", "pandas", "torch")


class Program:
    """Runs `python -m pipeline WORDS` in this process and returns its exit status and its texts."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.patch, self.capture = patch, capture

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self.patch.setattr(sys, "argv", ["pipeline", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        texts = self.capture.readouterr()
        return int(end.value.code or 0), texts.out, texts.err


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Program:
    monkeypatch.setenv("COLUMNS", "200")  # so that the help breaks no word
    return Program(monkeypatch, capsys)


def python(code: str, **variables: str) -> str:
    """Run code in a new Python and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert not done.stderr
    return done.stdout


def test_the_help_lists_every_command(program: Program) -> None:
    status, text, _ = program("--help")
    assert status == 0
    for name in COMMANDS:
        assert f" {name} " in text
    assert program() == (2, text, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_names_its_defaults(program: Program, name: str) -> None:
    status, text, error = program(name, "--help")
    assert (status, error) == (0, "")
    assert COMMANDS[name].help.splitlines()[0] in text
    values = [p for p in COMMANDS[name].params if not getattr(p, "is_flag", False)]
    assert text.count("[required]") == sum(p.required for p in values)
    assert text.count("[default: ") == sum(not p.required for p in values)


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("predict", "(the profile's first)"),
        ("predict", "(the checkpoint's folder)"),
        ("predict", "0.5, 0.5"),
        ("submit", "(the profile's first)"),
        ("verify", "ann"),
        ("verify", "(the first)"),
        ("ui", "5000"),
        ("efficiency", "stage"),
    ],
)
def test_defaults(program: Program, name: str, default: str) -> None:
    assert f"[default: {default}]" in program(name, "--help")[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "tarin ann 0",
            "command must be one of repro, predict, export, submit, ",
        ),
        ("submit --protocoll whole", "submit takes --protocol, "),
        ("predict --profil a", "predict takes --out, --protocol, "),
        ("submit", "Missing argument 'RUN'; see `python -m pipeline submit --help`"),
        ("submit ann-0 val", "Missing argument 'out'; see `python -m pipeline submit --help`"),
        ("predict a.safetensors b.png", "Missing option '--out'; see `python -m pipeline predict"),
        ("train ann first", "Invalid value for 'seed': Input should be a valid integer"),
        ("train ann 0 1", "Got unexpected extra argument(s) (1); see `python -m pipeline train "),
        ("ui http", "Invalid value for 'port': Input should be a valid integer"),
    ],
)
def test_wrong_words_end_in_one_sentence(program: Program, words: str, sentence: str) -> None:
    status, text, error = program(*words.split())
    assert (status, text) == (2, "")
    assert error.startswith(f"error: {sentence}")
    assert error.count("\n") == 1


def test_a_wrong_command_is_told_all_commands(program: Program) -> None:
    assert program("none")[2].endswith(f"must be one of {', '.join(COMMANDS)}, got 'none'\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("train ann 77", "seed must be one of 0, 1, 2"),
        ("evaluate an 0", "variant must be one of baseline, nb"),
        ("imported none", "checkpoints in params.yaml must list 'none'; it lists none"),
        ("submit ann-77 val a.zip", "RUN must be a variant and a seed of params"),
        ("export tensorflow a.safetensors a.pth", "LAYOUT must be one of authors, mmseg, got"),
        ("efficiency a/b", "NAME must be letters, digits and _, got 'a/b'"),
        ("ui 70000", "PORT must be a number from 1 to 65535, got 70000"),
    ],
)
def test_a_command_refuses_a_wrong_value_with_status_1(
    program: Program, monkeypatch: pytest.MonkeyPatch, words: str, sentence: str
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    status, text, error = program(*words.split())
    assert (status, text) == (1, "")
    assert error.startswith(f"error: {sentence}")
    assert error.count("\n") == 1


def test_dvc_runs_every_stage_of_the_command_line_and_no_other() -> None:
    stages = {c.name for c in cli.app.registered_commands if c.rich_help_panel == cli.STAGES}
    assert stages == set(STAGES)
    for name, stage in STAGES.items():
        words = (stage.get("do") or stage)["cmd"].split()
        assert words[:4] == ["python", "-m", "pipeline", name]
        required = sum(p.required for p in COMMANDS[name].params)
        assert required <= len(words[4:]) <= len(COMMANDS[name].params)


def test_importing_the_package_does_nothing() -> None:
    code = "import sys; before = {*sys.modules}; import pipeline; print(*{*sys.modules} - before)"
    assert python(code, ANN_WARM="/nowhere") == "pipeline\n"


def test_the_command_line_imports_no_slow_library() -> None:
    """Its help and its refusals must not wait for PyTorch."""
    code = "import sys, pipeline.__main__; print(*{m.partition('.')[0] for m in sys.modules})"
    assert not set(python(code).split()) & set(SLOW_LIBRARIES)
