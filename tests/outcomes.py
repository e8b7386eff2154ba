"""What a run of the pipeline leaves, without the times: to hold two runs against each other."""

import json
import re
from pathlib import Path
from typing import Any

from pipeline.engine.files import digest_file

TIMES = ("started", "speed")  # of a record: when, and how fast
# Pages with seconds: where each number comes from, trained times beside predicted ones.
SECONDS = (
    "reports/embedded/README.md",
    "reports/embedded/index.html",
    "reports/embedded/tables/networks",
    "reports/embedded/variants",
    "reports/plan.md",
)
HOURS = re.compile(r'[0-9.]+ hours|"hours": [0-9.]+')  # of training, told with each table


def outcome(folder: Path) -> dict[str, Any]:
    """What a run leaves, without the times: the values of small files, the digests of others."""
    found: dict[str, Any] = {}
    for top in ("data", "weights", "runs", "reports"):
        for file in sorted((folder / top).rglob("*")):
            name = file.relative_to(folder).as_posix()
            if file.name == "record.json":
                record = json.loads(file.read_text(encoding="utf-8"))
                found[name] = {k: v for k, v in record.items() if k not in TIMES}
            elif name == "reports/results/embedded.jsonl":
                lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
                for line in lines:
                    line["record"] = {k: v for k, v in line["record"].items() if k not in TIMES}
                found[name] = lines
            elif name.startswith(SECONDS) or not file.is_file():
                continue
            elif top == "reports" and file.suffix not in (".webp", ".pdf"):
                found[name] = HOURS.sub("", file.read_text(encoding="utf-8"))
            else:
                found[name] = digest_file(file)
    return found
