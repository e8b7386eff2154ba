"""The DVC stages, one module each and named as the stage, and what they share in the folders."""
