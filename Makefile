PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: roxf rpar test lint format clean

roxf: $(VENV)/installed
	$(BIN)/python -m experiments.roxf --k=700 --w=0.19

rpar: $(VENV)/installed
	$(BIN)/python -m experiments.rpar --k=700 --w=0.19

test: lint
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The library, as it is here, and the command l2g.
$(VENV)/installed: requirements.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --editable .
	touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	$(BIN)/python -m pip install -r requirements-dev.txt
	touch $@
