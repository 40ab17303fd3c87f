# Two commands matter: `make demo` shows the product, `make test` proves it.
# Both need only python3 (>= 3.11) and make; each installs what it needs into .venv once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test test-all check format clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "quant_engine needs Python 3.11 or newer; found $$($(PYTHON) --version). Try: make PYTHON=python3.12 demo"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.product: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[kalshi]'
	$(BIN)/qe warm-up --quiet
	@touch $@

$(VENV)/.test: $(VENV)/.product
	$(PIP) install -c constraints.txt -e '.[kalshi,test]'
	@touch $@

demo: $(VENV)/.product  ## train, predict and backtest on the embedded simulated market
	@$(BIN)/qe demo

check: $(VENV)/.test  ## format, lint, types, layers, architecture tests
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo >.lint-imports.log 2>&1 || { cat .lint-imports.log; exit 1; }
	@$(BIN)/python -m pytest -q -m arch tests/arch

test: check  ## make check, then the test suite
	@$(BIN)/python -m pytest -q -n 2

test-all: check  ## everything, including what is too slow for every commit
	@$(BIN)/python -m pytest -q -n 2 -m "not network"

format: $(VENV)/.test  ## format the code and sort imports
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

clean:  ## remove caches, keep results and models
	rm -rf .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis dist build
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
