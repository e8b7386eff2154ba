# make repro   the whole experiment      make test   the tests         make ui   MLflow's pages
# make verify  does this machine train the committed network again, bit for bit
# make bench   the blocks' speed          make lint   style and types
# make bench-jobs  make repro with two runs side by side against one
# make experiments   DVC's experiments in a few columns
# make mutants [SAMPLE=200] [SEED=0]   how many small wrong changes the fast tests catch; hours
# make lock    renew the lock file        make audit  known faults of the locked packages

PYTHON ?= python3
PORT ?= 5000
JOBS ?=
STAMP := .venv/installed
BENCH := pytest -n 0 --benchmark-enable --benchmark-columns=median,rounds -s
export MLFLOW_DISABLE_TELEMETRY = true
export VIRTUAL_ENV := $(CURDIR)/.venv
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: setup repro verify test mutants bench bench-jobs lint ui experiments lock audit
setup: $(STAMP)

# uv comes from the lock file too, so every package that is installed has its hash checked.
$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 13) else f"Python is {v[0]}.{v[1]}; allowed are 3.11 and 3.12, as in: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/# via/p' requirements.lock > .venv/uv.lock
	python -m pip install --quiet --require-hashes -r .venv/uv.lock
	uv pip sync --quiet --require-hashes --compile-bytecode requirements.lock
	uv pip install --quiet --no-deps --no-build-isolation --no-index --editable .
	touch $(STAMP)

repro: setup
	python -m pipeline repro $(if $(JOBS),--jobs $(JOBS))

verify: setup
	python -m pipeline verify

test: setup
	pytest

mutants: setup
	OMP_NUM_THREADS=1 nice -n 5 python .ci/mutants.py --seed $(or $(SEED),0) $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(ONLY),--only '$(ONLY)')

bench: setup
	$(BENCH) -o python_files='bench_*.py' tests/benchmarks

bench-jobs: setup
	$(BENCH) tests/benchmarks/jobs.py

lint: setup
	ruff check .
	ruff format --check .
	mypy

experiments: setup
	dvc exp show --drop '.*' --keep '^(Experiment|profile|seeds|miou\.(baseline|apnb|afnb|ann)|results\.supported)$$'

audit: setup
	python .ci/audit.py

ui: setup
	python -m pipeline ui $(PORT)

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --all-extras pyproject.toml -o requirements.lock
