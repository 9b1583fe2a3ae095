# `make demo` shows boiler working, `make test` runs the quick tests; both create .venv if it is missing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# Real labelled sounds for the tests; without them the tests that need them are skipped.
DATA   := $(wildcard ../shared/data)
ifneq ($(DATA),)
export BOILER_TEST_DATA ?= $(abspath $(DATA))
endif

.PHONY: demo test test-slow lint clean
.DEFAULT_GOAL := demo

$(READY): pyproject.toml requirements.txt boiler/engine/rerank.c
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.txt --editable '.[dev]'
	touch $@

# Train, index and search: on synthesized sounds, or on your own with FOLDER=~/sounds
demo: $(READY)
	$(BIN)/python -m boiler demo $(if $(FOLDER),--wav_dir "$(patsubst ~/%,$(HOME)/%,$(FOLDER))")

# Three processes for two cores, since some tests wait for servers and decoders; each with one thread of torch: with more,
# they wait for each other. A file's tests share its fixtures; the order of slow files is that of tests/conftest.py. Tests
# start Python hundreds of times, so what is compiled must be kept, also where an environment forbids it.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 3 --dist loadfile

test: $(READY)
	$(PYTEST) -m "not slow"

test-slow: $(READY)
	$(PYTEST) --no-loadscope-reorder -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
