"""Stage track: bring MLflow up to date with every run of the active profile, and the report.

    python -m pipeline track

Long trainings send their curves while they run. This stage sends the rest, and sends everything
again to a new or lost store. A store that cannot be reached fails nothing, because the files are
the truth, and the next `make repro` or `make ui` sends them. A store that will never take them is
an error.
"""

from pipeline.settings import params
from pipeline.tracking.sync import send_all


def main() -> None:
    send_all(params.load())
