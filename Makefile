# `make demo` shows it working, `make test` proves it. PYTHON may be any Python from 3.11 on.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
PACKAGES := mmspec lm_drafting image_ar video_ar adapters demos
# Two test processes with a thread pool each starve one another.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help install install-demo demo test browser-note lint format types bench pictures clean

help:
	@echo "make install   virtual environment with everything for development"
	@echo "make demo      caption the bundled samples, draw two pictures, make a clip, compare with plain decoding, write demo-out/"
	@echo "make test      install, lint, type check, tests"
	@echo "make lint      ruff check and format check"
	@echo "make format    let ruff fix and format"
	@echo "make types     mypy"
	@echo "make bench     measure every method; bring tables and pictures of the documents up to date"
	@echo "make pictures  draw the pictures of the README anew"
	@echo "make clean     remove caches and outputs (the virtual environment stays)"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Stamps: installing again only makes sense when pyproject.toml changed.
$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $(VENV)/.installed-demo $@

$(VENV)/.installed-demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[generation]'
	@touch $@

install: $(VENV)/.installed-dev

# Lighter than `install`: what the demo needs at run time and nothing else.
install-demo: $(VENV)/.installed-demo

demo: install-demo
	$(BIN)/mmspec caption adapters/tiny/samples --compare --report --out demo-out
	$(BIN)/mmspec image "a large red circle above a small blue square" "two stars on a mint background" \
		--compare --score --heatmap --out demo-out/pictures
	$(BIN)/mmspec video "a large red circle on the left moves right" --method first-block \
		--compare --score --strip --out demo-out/videos

# The browser tests need a Chromium of the system; nobody should miss that they were skipped.
CHROMIUM ?= $(firstword $(foreach name,chromium chromium-browser google-chrome \
	google-chrome-stable,$(shell command -v $(name) 2>/dev/null)))

# pytest comes last: its summary is the last line.
test: install lint types browser-note
	$(ONE_THREAD) $(BIN)/python -m pytest -q -n $(WORKERS)

browser-note:
	@test -n "$(CHROMIUM)" || { \
	  echo "*** NO BROWSER TESTS: Chromium is not installed, so the demo is not clicked through."; \
	  echo "*** Install it (apt-get install chromium) or set CHROMIUM=/path/to/chromium."; }

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: install
	$(BIN)/mypy

bench: install
	$(BIN)/mmspec bench all --readme README.md docs/*.md

pictures: install-demo
	$(BIN)/python docs/make_pictures.py

clean:
	rm -rf build dist demo-out *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +
