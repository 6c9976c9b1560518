# make sweep   sets up .venv and runs the quick sweep on all ten tasks
# make test    sets up .venv and runs the tests
# make test-faults   kills actors, nodes, drivers, servers and disks in the middle of sweeps
# PYTHON=python3.11 chooses the interpreter; CONFIG=tune_configs/paper.yaml another sweep.
PYTHON ?= $(shell command -v python3.11 || command -v python3.10 || command -v python3)
CONFIG ?= tune_configs/quick.yaml
VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := requirements.txt requirements-simulators.txt pyproject.toml

.PHONY: sweep test test-faults fuzz lint check-python clean

sweep: $(VENV)/.installed
	$(BIN)/prefine sweep $(CONFIG)

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest

test-faults: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m faults tests/faults tests/cluster

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check-python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; ok = v in ((3, 10), (3, 11)); \
	print("" if ok else f"error: {sys.executable} is Python {v[0]}.{v[1]}; this project needs 3.10 or 3.11 (mujoco 2.3.3 has no wheels for later ones). Choose one with: make PYTHON=python3.11 ...", end=""); \
	sys.exit(not ok)' || exit 1
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	{ echo "error: $(PYTHON) has no venv module; install it (Debian, Ubuntu: apt install python3-venv)"; exit 1; }

$(VENV)/bin/python: | check-python
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(REQUIREMENTS) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -r requirements.txt || \
	{ command -v cc >/dev/null || command -v c++ >/dev/null || \
	echo "error: a package had to be compiled and there is no C/C++ compiler (Debian, Ubuntu: apt install build-essential)"; exit 1; }
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-simulators.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) results data

fuzz: $(VENV)/.installed-dev
	PREFINE_FUZZ_CASES=5000 $(BIN)/python -m pytest -q --timeout 3600 tests/fuzz
