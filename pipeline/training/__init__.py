"""The parts of a training: what shapes it, its recipe, its ImageNet weights."""
