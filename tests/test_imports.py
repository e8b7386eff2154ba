"""What the modules of ann import: PyTorch, and what stands below them."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# From the bottom up: a module imports only what stands before it.
ORDER = [
    "constants",
    "noise",
    "pooling",
    "sampling",
    "options",
    "layers",
    "recompute",
    "plain",
    "orders",
    "fused",
    "factors",
    "fast",
    "blocks",
    "timm_backbone",
    "backbone",
    "network",
    "attention",
    "cost",
    "foreign",
    "layout_names",
    "layouts",
    "loss",
    "metrics",
    "sync_norm",
]
ANN = ROOT / "ann"


def imports(name: str) -> set[str]:
    """Return the modules of ann that a module imports, also under TYPE_CHECKING."""
    names = set()
    for node in ast.walk(ast.parse((ANN / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "ann":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ann."):
            names.add(str(node.module).removeprefix("ann."))
    return names


def test_the_order_has_every_module() -> None:
    assert sorted(ORDER) == sorted(f.stem for f in ANN.glob("*.py") if f.stem != "__init__")


@pytest.mark.parametrize("name", ORDER)
def test_a_module_imports_only_what_stands_below_it(name: str) -> None:
    assert imports(name) <= set(ORDER[: ORDER.index(name)])


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_importing_ann_needs_only_pytorch() -> None:
    """NumPy is hidden from ann alone: PyTorch imports it if it is there."""
    printed = run(
        "import sys, torch\n"
        "for name in ('torchvision', 'numpy'):\n"
        "    sys.modules[name] = None\n"
        "before = set(sys.modules)\n"
        "import ann\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(new - set(sys.stdlib_module_names))\n"
        "from ann import SegmentationNetwork\n"
        "SegmentationNetwork(2, backbone='small', widths=[4, 4, 4, 4])\n"
        "try:\n"
        "    SegmentationNetwork(2, backbone='resnet18')\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    modules, sentence = printed.splitlines()
    assert modules == "{'ann'}"
    assert sentence == "backbone resnet18 needs torchvision; install it, or use backbone small"
