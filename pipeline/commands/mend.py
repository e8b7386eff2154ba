"""Repair what DVC left half-written when it was killed.

python -m pipeline mend
"""

from pipeline.engine.mend import mend


def main() -> None:
    mend()
