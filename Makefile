# Every target builds its own .venv first; nothing but Python 3.11 or later is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Each of the many processes that tests start would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint bench chaos clean

$(BIN)/crosswalk: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'Python 3.11 or later is needed')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(BIN)/crosswalk

demo: $(BIN)/crosswalk
	rm -rf crosswalk-demo
	$(BIN)/crosswalk demo crosswalk-demo

test: $(BIN)/crosswalk
	$(BIN)/python -m pytest -n auto

lint: $(BIN)/crosswalk
	$(BIN)/ruff check .
	$(BIN)/ruff format --check engine connectors tests
	$(BIN)/mypy

# In full it takes many hours; MINUTES=60 cuts it short.
MINUTES ?= 0

chaos: $(BIN)/crosswalk
	$(BIN)/python tests/chaos/long.py --minutes $(MINUTES)

bench: $(BIN)/crosswalk
	$(BIN)/python tests/bench/bench.py
	$(BIN)/python tests/bench/peers.py
	$(BIN)/python tests/bench/writes.py
	$(BIN)/python tests/bench/journal.py
	$(BIN)/python tests/bench/serve.py
	$(BIN)/python tests/bench/reconcile.py

clean:
	rm -rf $(VENV) crosswalk-demo dist build
