"""The DVC stages, one module each and named as the stage, and what they share in the folders."""

import os

for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"):
    if not os.environ.get(name, "0").isdecimal():
        del os.environ[name]  # Fabric reads it when it is imported, and wants a number

if address := os.environ.get("ANN_WARM"):  # `make repro` runs the stages, see pipeline.common.warm
    from pipeline.common.warm import hand_over

    hand_over(address)
