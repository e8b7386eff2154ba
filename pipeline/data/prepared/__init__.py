"""Check and decode the samples of a dataset, for the prepare stage, and read them again."""
