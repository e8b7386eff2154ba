"""The DVC stages, one module each and named as the stage, and what they share in the folders."""

import os

if address := os.environ.get("ANN_WARM"):  # `make repro` runs the stages, see pipeline.common.warm
    from pipeline.common.warm import hand_over

    hand_over(address)
