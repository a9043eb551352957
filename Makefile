# Each target does its own set-up; a machine needs Python 3.11 or newer, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two workers of one thread each (tests/conftest.py): every worker loads torch for itself.
PYTEST := $(BIN)/python -m pytest -n 2

.PHONY: help demo test test-fast check fix bench
.DEFAULT_GOAL := help

help:
	@echo "make demo       rank real MovieLens candidates with a real decoder (downloads ~100 MB once)"
	@echo "make test       everything: check, fast and slow tests (downloads ~100 MB once)"
	@echo "make test-fast  tests without downloads"
	@echo "make check      ruff, formatting, types"
	@echo "make fix        let ruff mend what it can"
	@echo "make bench      benchmarks; needs a quiet machine"

# Touched last, so that an install that broke off is done again.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "promptrank needs Python 3.11 or newer, and '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/python -m promptrank demo

test: check
	$(PYTEST)

test-fast: $(STAMP)
	$(PYTEST) -m "not slow"

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m promptrank.schema.reference

bench: $(STAMP)
	$(BIN)/python bench/score.py
	$(BIN)/python bench/prompts.py
	$(BIN)/python bench/data.py
