# Everything runs in .venv, made here; needs Python 3.11 or later and pip, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test check test-all clean

# The wheel is what is tested: a file that is missing from the package is missing here too.
$(VENV)/installed: pyproject.toml constraints.txt $(shell git ls-files '*.py' '*.jsonl' py.typed 2>/dev/null)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	rm -rf build dist *.egg-info
	$(BIN)/python -m pip install --quiet --constraint constraints.txt setuptools
	$(BIN)/python -m pip install --quiet --constraint constraints.txt ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps --force-reinstall .
	rm -rf build *.egg-info
	touch $@

demo: $(VENV)/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

test: $(VENV)/installed
	$(BIN)/python -m pytest -q -m "not slow"

test-all: $(VENV)/installed
	$(BIN)/python -m pytest -q

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy -p investigate

clean:
	rm -rf $(VENV) build dist *.egg-info .investigate
