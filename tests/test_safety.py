"""Nothing that is read from outside is executed; what is installed is locked and audited."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.utils.serialize import YAMLFileCorruptedError, load_yaml

from pipeline.commands import ui
from pipeline.engine.errors import InputError
from pipeline.settings import params
from tests.conftest import ROOT

SOURCES = [f for top in ("ann", "pipeline", ".ci") for f in sorted((ROOT / top).rglob("*.py"))]
CALLS = {  # what runs what it reads, or unpacks it wherever that says
    *("eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"),
    *("yaml.full_load", "torch.jit.load", "torch.hub.load", "shutil.unpack_archive", "joblib.load"),
}
METHODS = {"extractall", "extract"}  # of archives
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "tarfile"}
SAFE = {"joblib.cpu_count"}
NEEDED = {  # calls that are safe with this argument only
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}


def unsafe(source: str) -> Iterator[str]:
    """The lines of a module that could execute what they read."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        if any(name.split(".")[0] in MODULES and name not in SAFE for name in names):
            yield f"line {node.lineno}: imports {names}"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
        key, value = NEEDED.get(called, ("shell", given.get("shell") or None))
        method = isinstance(node.func, ast.Attribute) and node.func.attr in METHODS
        if called in CALLS or method or given.get(key) is not value or given.get("shell"):
            yield f"line {node.lineno}: calls {called}"


def test_no_module_executes_what_it_reads() -> None:
    assert len(SOURCES) > 80
    assert {
        f.name: list(unsafe(f.read_text(encoding="utf-8")))
        for f in SOURCES
        if [*unsafe(f.read_text(encoding="utf-8"))]
    } == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "eval(text)",
        "yaml.load(text, Loader)",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "np.load(file, allow_pickle=True)",
        "subprocess.run(words, shell=True)",
        "os.system(words)",
        "ZipFile(file).extractall(folder)",
    ],
)
def test_the_search_finds_what_it_is_for(line: str) -> None:
    assert list(unsafe(line))


def test_no_reader_of_params_runs_its_tags(tmp_path: Path) -> None:
    file, mark = tmp_path / "params.yaml", tmp_path / "executed"
    file.write_text(
        f"profile: !!python/object/apply:os.system ['touch {mark}']\n", encoding="utf-8"
    )
    with pytest.raises(InputError, match="not valid YAML"):
        params.load(file)
    with pytest.raises(YAMLFileCorruptedError):
        load_yaml(str(file))  # as DVC reads it
    assert not mark.exists()


def test_the_pages_are_for_this_machine_only() -> None:
    assert ui.make_command(5000, "sqlite:///mlflow.db")[6:8] == ["--host", "127.0.0.1"]


def test_every_locked_package_has_hashes() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) > 100
    for entry in entries:
        assert re.match(r"[\w.\-]+(\[[\w,\-]+\])?==\S+", entry), entry.splitlines()[0]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), entry.splitlines()[0]
    made = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all("--require-hashes" in line for line in made.splitlines() if "pip sync" in line)


def test_the_audit_fails_on_a_known_fault_and_tells_what_it_could_not_ask() -> None:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci/audit.py")
    assert spec
    assert spec.loader
    audit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(audit)
    good = {"name": "a", "version": "1", "vulns": []}
    bad = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
    skipped = {"name": "c", "skip_reason": "not found"}
    assert audit.summarize([good]) == ("1 packages audited, 0 known faults", 0)
    sentence, status = audit.summarize([good, bad, skipped])
    assert status == 1
    assert sentence.splitlines()[0] == "b 2: CVE-1, fixed in 3"
    assert "2 packages audited, 1 known faults; 1 could not be audited" in sentence
    sentence, status = audit.summarize([skipped, skipped])
    assert (status, sentence[:45]) == (0, "0 packages audited; 2 could not be audited, b")
