"""The program `ann-bench`: the pipeline of the checkout in the current folder."""

import sys
from importlib import import_module
from pathlib import Path


def main() -> None:
    """Run `python -m pipeline` with the same words."""
    folder = Path.cwd()
    if not (folder / "pipeline/__main__.py").is_file():
        print(
            f"error: ann-bench runs in a checkout of the repository, and {folder} has no pipeline/",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.path.insert(0, str(folder))
    import_module("pipeline.__main__").main()
