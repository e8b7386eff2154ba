"""Send runs to MLflow, which is a view of the files in runs/ and reports/.

Each run has a fingerprint tag. Therefore sending it again changes nothing, a resumed run stays one
run, and `python -m pipeline track` fills a lost store again. A parent run represents a variant, and
its children the seeds.
"""
