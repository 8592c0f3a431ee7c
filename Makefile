# The first target is the quick start. VENV, OUT and PYTHON may be given: make quickstart VENV=env
# The README shows these lines; tests/test_house.py holds both to each other.
VENV ?= .venv
OUT ?= runs/quickstart
PYTHON ?= python3
BIN = $(VENV)/bin

DATA ?= data
MODELS ?= data/tokenizers
PAGES ?= docs/studies/smoke

.PHONY: quickstart test test-slow test-gpu check bench studies clean

quickstart:  ## a virtual environment, tuneoff, and the built-in contest: about five minutes
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt .
	$(BIN)/tuneoff run --out $(OUT)

test:  ## the tests that CI runs
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e '.[test]'
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

test-slow: ## the tests that take minutes
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow

test-gpu: ## the tests that need CUDA
	$(BIN)/pytest -m gpu

check:  ## formatting, linter, types
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

studies:  ## every published study, cell by cell, at a small scale: make studies DATA=... MODELS=...
	$(BIN)/python scripts/smoke_studies.py --data $(DATA) --models $(MODELS) --pages $(PAGES)

clean:
	rm -rf $(VENV) runs build dist
