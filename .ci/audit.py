"""Audit the locked packages; fail for known faults, but not for packages without an answer.

python .ci/audit.py [LOCKFILE]
"""

import json
import subprocess
import sys
from typing import Any

COMMAND = ["pip-audit", "--require-hashes", "--disable-pip", "--progress-spinner=off", "-f=json"]


def summarize(dependencies: list[dict[str, Any]]) -> tuple[str, int]:
    """Return a summary of pip-audit's list, and the exit status."""
    audited = [d for d in dependencies if "skip_reason" not in d]
    faults = [
        f"{d['name']} {d['version']}: {v['id']}, fixed in {', '.join(v['fix_versions']) or 'none'}"
        for d in audited
        for v in d["vulns"]
    ]
    skipped = len(dependencies) - len(audited)
    counts = f"{len(audited)} packages audited"
    counts += f", {len(faults)} known faults" if audited else ""
    if skipped:
        counts += f"; {skipped} could not be audited, because the service did not know or answer"
    return "\n".join([*faults, counts]), int(bool(faults))


def main() -> None:
    lock = sys.argv[1] if len(sys.argv) > 1 else "requirements.lock"
    process = subprocess.run([*COMMAND, "-r", lock], capture_output=True, encoding="utf-8")
    try:
        dependencies = json.loads(process.stdout)["dependencies"]
    except (ValueError, KeyError):
        if "requests.exceptions" in process.stderr:
            print("0 packages audited, because the service cannot be reached")
            return
        sys.exit(f"{lock} could not be audited: {process.stderr.strip()}")
    summary, status = summarize(dependencies)
    print(summary)
    sys.exit(status)


if __name__ == "__main__":
    main()
