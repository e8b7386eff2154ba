"""Stage track: bring MLflow up to date with every run of the active profile, and the report.

    python -m pipeline track

Long trainings send their curves while they run. This stage sends the rest, and sends everything
again to a new or lost store. If the store cannot be reached, the stage still succeeds, because the
files hold everything. The next `make repro` or `make ui` then sends them. A store that will never
take them is an error.
"""

from pipeline.settings import params
from pipeline.tracking.sync import send_all


def main() -> None:
    send_all(params.load())
