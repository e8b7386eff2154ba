PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
