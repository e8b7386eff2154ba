"""Turn a dataset's files into the samples of a training."""
