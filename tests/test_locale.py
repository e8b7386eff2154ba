"""Files are UTF-8 and nothing fails at a letter, whatever the locale and the terminal are."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}


def in_ascii(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **ASCII, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, encoding="ascii", cwd=ROOT)


def test_the_report_is_made_in_an_ascii_locale(tmp_path: Path, reports: Path) -> None:
    root = shutil.copytree(reports.parents[1], tmp_path / "root", symlinks=True)
    (root / "reports/embedded/README.md").unlink()
    code = "import locale, os; from pipeline.stages import report; "
    done = in_ascii(f"{code}os.chdir({str(root)!r}); report.main(); print(locale.getencoding())")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.endswith("ANSI_X3.4-1968\n")  # or the test shows nothing
    page = (root / "reports/embedded/README.md").read_bytes()
    assert page == (reports / "README.md").read_bytes()
    assert not page.isascii()


def test_a_letter_that_the_terminal_lacks_is_no_failure() -> None:
    told = "from pipeline.engine import errors\ndef stage():\n    print('m\\xb2 \\udce4')\n"
    done = in_ascii(f"{told}    raise errors.InputError('\\u2020 is wrong')\nerrors.run(stage)")
    assert (done.returncode, done.stdout) == (1, "m? ?\n"), done.stderr
    assert done.stderr == "error: ? is wrong\n"
