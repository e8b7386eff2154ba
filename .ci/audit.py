"""Audit the locked packages: known faults fail; what could not be asked is said, and fails nothing.

python .ci/audit.py [LOCKFILE]
"""

import json
import subprocess
import sys
from typing import Any

COMMAND = ["pip-audit", "--require-hashes", "--disable-pip", "--progress-spinner=off", "-f=json"]


def told(dependencies: list[dict[str, Any]]) -> tuple[str, int]:
    """What to say of pip-audit's list, and the exit status."""
    asked = [d for d in dependencies if "skip_reason" not in d]
    faults = [
        f"{d['name']} {d['version']}: {v['id']}, mended in {', '.join(v['fix_versions']) or 'none'}"
        for d in asked
        for v in d["vulns"]
    ]
    left = len(dependencies) - len(asked)
    counts = f"{len(asked)} packages audited"
    counts += f", {len(faults)} known faults" if asked else ""
    if left:
        counts += f"; {left} could not be audited, for the service did not know or answer"
    return "\n".join([*faults, counts]), int(bool(faults))


def main() -> None:
    lock = sys.argv[1] if len(sys.argv) > 1 else "requirements.lock"
    done = subprocess.run([*COMMAND, "-r", lock], capture_output=True, encoding="utf-8")
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        if "requests.exceptions" in done.stderr:
            print("0 packages audited, for the service cannot be reached")
            return
        sys.exit(f"{lock} could not be audited: {done.stderr.strip()}")
    sentence, status = told(dependencies)
    print(sentence)
    sys.exit(status)


if __name__ == "__main__":
    main()
