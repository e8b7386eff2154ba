"""Count the cores that this process may use."""

import os
import sys


def count_cores() -> int:
    """Return the cores that the affinity, a container and SLURM leave to this process."""
    from joblib import cpu_count  # here, because it takes a while to import

    share = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(cpu_count(), int(share) if share.isdecimal() and int(share) else sys.maxsize)


def share_cores() -> int:
    """Return this process' share of them, where torchrun started several on the machine."""
    local = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, count_cores() // (int(local) if local.isdecimal() and int(local) else 1))
