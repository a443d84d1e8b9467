# `make demo` shows it working, `make test` proves it. PYTHON may be any Python from 3.11 on.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
PACKAGES := mmspec lm_drafting image_ar video_ar adapters
# Two test processes with a thread pool each starve one another.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help install install-demo demo test lint format types bench clean

help:
	@echo "make install   virtual environment with everything for development"
	@echo "make demo      caption the bundled samples, compare with plain decoding, write demo-out/"
	@echo "make test      install, lint, type check, tests"
	@echo "make lint      ruff check and format check"
	@echo "make format    let ruff fix and format"
	@echo "make types     mypy"
	@echo "make bench     benchmark of captioning on the bundled model"
	@echo "make clean     remove caches and outputs (the virtual environment stays)"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Stamps: installing again only makes sense when pyproject.toml changed.
$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $(VENV)/.installed-demo $@

$(VENV)/.installed-demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

install: $(VENV)/.installed-dev

# Lighter than `install`: what captioning needs at run time and nothing else.
install-demo: $(VENV)/.installed-demo

demo: install-demo
	$(BIN)/mmspec caption adapters/tiny/samples --compare --report --out demo-out

# pytest comes last: its summary is the last line.
test: install lint types
	$(ONE_THREAD) $(BIN)/python -m pytest -q -n $(WORKERS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: install
	$(BIN)/mypy

bench: install
	$(BIN)/mmspec bench caption

clean:
	rm -rf build dist demo-out *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +
