#!/bin/sh
# DVC, but that what a kill of it left half-written is mended first; `make setup` installs this as
# the environment's `dvc`.
python=$(dirname "$0")/python
[ -x "$python" ] || python=python
[ ! -f pipeline/mend.py ] || "$python" -m pipeline.mend
exec "$python" -m dvc "$@"
