"""Predict with a trained network by the protocols of params.yaml, and score the predictions."""
