"""Which of this repository's files a module imports, and a digest of what they compute."""

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("ann", "contexts", "pipeline")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def imported_files(module: str, without: frozenset[str], root: Path = Path()) -> list[Path]:
    """Return the files of a module and of all that it imports, directly or not.

    Args:
        module: The dotted name.
        without: Modules, or packages, that are left out with what only they import.
        root: The repository's folder.

    Returns:
        Paths below `root`, sorted. Imports inside functions count; those for the type checker
        alone do not.
    """
    root = root.resolve()
    seen: set[str] = set()
    waiting = {module}
    while waiting:
        seen |= waiting
        names = {name for m in waiting for name in imports(root, _file_of(root, m))}
        waiting = {name for name in names if not within(name, without)} - seen
    return sorted(_file_of(root, name) for name in seen)


def within(module: str, names: frozenset[str]) -> bool:
    """Tell whether a module is one of these or lies in one of them."""
    parts = module.split(".")
    return any(".".join(parts[:n]) in names for n in range(1, len(parts) + 1))


def imports(root: Path, file: Path) -> frozenset[str]:
    """Return the dotted names of the repository's modules that a file imports."""
    return _imports(root, file, _stamp(root / file))


def _stamp(file: Path) -> tuple[int, int]:
    """Return what changes with a file's content, so that a result can be kept until then."""
    found = file.stat()
    return found.st_mtime_ns, found.st_size


@cache
def _imports(root: Path, file: Path, stamp: tuple[int, int]) -> frozenset[str]:
    names: set[str] = set()
    for node in _walk_executed(ast.parse((root / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.add(inner if _is_ours(root, inner) else node.module)
    return frozenset(name for name in names if _is_ours(root, name))


def _walk_executed(node: ast.AST) -> Iterator[ast.AST]:
    """Walk over a module without what only a type checker reads."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk_executed(child)


def _is_ours(root: Path, module: str) -> bool:
    return module.split(".")[0] in PACKAGES and (root / _file_of(root, module)).is_file()


def _file_of(root: Path, module: str) -> Path:
    path = Path(*module.split("."))
    package = path / "__init__.py"
    return package if (root / package).is_file() else path.with_suffix(".py")


def digest_of(file: Path) -> str:
    """Return the sha256 of a file's code; comments and docstrings do not count."""
    return _digest_of(file.resolve(), _stamp(file))


@cache
def _digest_of(file: Path, stamp: tuple[int, int]) -> str:
    return hashlib.sha256(code_of(file).encode()).hexdigest()


def code_of(file: Path) -> str:
    """Return a file's text without comments, docstrings, blank lines and trailing spaces.

    It is made from the text, so it is the same by every version of Python.
    """
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, _DOCUMENTED) or ast.get_docstring(node, clean=False) is None:
            continue
        docstring = node.body[0]
        assert docstring.end_lineno is not None
        end = lines[docstring.end_lineno - 1].encode()[docstring.end_col_offset :].decode()
        start = lines[docstring.lineno - 1].encode()[: docstring.col_offset].decode()
        lines[docstring.lineno - 1 : docstring.end_lineno] = [
            start + '""' + end,
            *[""] * (docstring.end_lineno - docstring.lineno),
        ]
    return "\n".join(line.rstrip() for line in lines if line.strip())
