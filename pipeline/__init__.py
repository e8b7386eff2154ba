"""The DVC stages, one module each and named as the stage, and what they share in the folders."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

ENVIRONMENT = Path(__file__).resolve().parents[1] / ".venv"
NEEDED = "dvc", "lightning_fabric", "psutil", "pydantic", "torch"

again = os.environ.pop("ANN_AGAIN", None)
missing = [name for name in NEEDED if find_spec(name) is None]
if missing and "-m" in sys.orig_argv:  # the first Python in PATH is not the environment's
    if os.access(ENVIRONMENT / "bin/python", os.X_OK) and not again:
        os.environ["ANN_AGAIN"] = "1"  # only once, because that one may lack packages too
        program = str(ENVIRONMENT / "bin/python")
        os.execv(program, [program, *sys.orig_argv[sys.orig_argv.index("-m") :]])
    sys.exit(
        f"error: {sys.executable} lacks the package {missing[0]}; run `make setup`, and then "
        f"`.venv/bin/dvc repro`"
    )

for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"):
    if not os.environ.get(name, "0").isdecimal():
        del os.environ[name]  # Fabric reads it when it is imported, and wants a number

if address := os.environ.get("ANN_WARM"):  # `make repro` runs the stages, see pipeline.common.warm
    from pipeline.common.warm import hand_over

    hand_over(address)
