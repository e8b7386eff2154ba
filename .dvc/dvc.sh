#!/bin/sh
# DVC, but that what a kill of it left half-written is mended first; `make setup` installs this as
# the environment's `dvc`. The stages run `python`, so the environment's must be the first in PATH,
# active or not.
programs=$(dirname "$(readlink -f "$0")")
[ ! -x "$programs/python" ] || export PATH="$programs:$PATH"
[ ! -f pipeline/mend.py ] || python -m pipeline.mend
exec python -m dvc "$@"
