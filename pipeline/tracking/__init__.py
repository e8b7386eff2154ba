"""Runs in MLflow: always a view of the files in runs/ and reports/, never the truth.

Each run has a fingerprint tag, so that sending again changes nothing, a run that was killed and
resumed stays one run, and a lost store is filled again by `python -m pipeline.track`. A parent
run stands for a variant, its children for the seeds.
"""
