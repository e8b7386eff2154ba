"""The stages that DVC runs, one module each, named as in `dvc dag`."""
