"""What a block, a sampler and a dataset must keep to, one's own too.

pytest tests/contract --block NAME      a file of contexts/, or nb, apnb, fnb, afnb
pytest tests/contract --sampler NAME    one of ann.SAMPLINGS
pytest tests/contract --dataset NAME    one of pipeline.data.formats.DATASETS

Without an option all that are found are checked. `blocks`, `samplers` and `datasets` have the
checks, a function each; its name and its message say what is broken.
"""
