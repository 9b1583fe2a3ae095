# Two commands set everything up: `make demo` (the main job) and `make test`. Each makes .venv when it is missing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# Real labelled sounds for the tests, when they are at hand; without them those tests skip, and say so.
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

# The first answer: on made-up sounds, or on your own with FOLDER=~/sounds
demo: $(READY)
	$(BIN)/python -m boiler demo $(if $(FOLDER),--wav_dir "$(patsubst ~/%,$(HOME)/%,$(FOLDER))")

test: $(READY)
	$(BIN)/python -m pytest -m "not slow" -n 2

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
