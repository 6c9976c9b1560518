# make install sets up .venv
# make sweep   sets up .venv and runs the quick sweep on all ten tasks
# make test    sets up .venv and runs the tests
# make test-unit     the short ones among them, in 3 minutes on two cores: no Ray, no servers, no browser, no whole episodes
# make test-slow     the long tests: hundreds of whole episodes beside the upstream simulators (hours), planted defects
#                    of the fuzzers, sweeps that make damaged files again, the long commands of the documents
# make test-faults   kills actors, nodes, drivers, servers and disks in the middle of sweeps
# make fuzz          reads thousands of altered files (minutes)
# make docs          builds the documentation in site/; make serve-docs shows it at http://127.0.0.1:8000
# make result-tables rebuilds the tables of results in README.md and docs/ from the rows in docs/results
# make check-fresh   as root: make sweep and make test in a bare Debian 13 of its own
# PYTHON=python3.12 chooses the interpreter; CONFIG=paper another sweep;
# TORCH=cpu or TORCH=cuda the build of PyTorch (default: cuda where there is an NVIDIA GPU, else cpu).
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
CONFIG ?= quick
VENV := .venv
BIN := $(VENV)/bin
PARALLEL := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile
REQUIREMENTS := requirements.txt requirements-simulators.txt pyproject.toml
INSTALLED := $(VENV)/.installed$(if $(TORCH),-$(TORCH))

.PHONY: install sweep test test-unit test-slow test-faults fuzz docs serve-docs result-tables check-fresh lint check-python clean

install: $(INSTALLED)

sweep: $(INSTALLED)
	$(BIN)/prefine sweep $(CONFIG)

test: $(VENV)/.installed-dev lint
	$(PARALLEL) -m "not ray and not faults and not slow"
	$(BIN)/python -m pytest -m "ray and not faults and not slow"

test-unit: $(VENV)/.installed-dev
	$(PARALLEL) -m "not ray and not faults and not slow and not long"

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

test-faults: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m faults tests/faults tests/cluster

fuzz: $(VENV)/.installed-dev
	PREFINE_FUZZ_CASES=5000 $(BIN)/python -m pytest -q --timeout 3600 tests/fuzz

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

serve-docs: docs
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory site 8000

result-tables: $(INSTALLED)
	$(BIN)/python scripts/result_tables.py

check-fresh:
	scripts/check-fresh.sh

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check-python:
	@scripts/check-python.sh $(PYTHON)

$(VENV)/bin/python: | check-python
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(REQUIREMENTS) | $(VENV)/bin/python
	rm -f $(VENV)/.installed*
	TORCH=$(TORCH) scripts/install.sh $(BIN)/python
	touch $(VENV)/.installed $@

$(VENV)/.installed-dev: requirements-dev.txt requirements-convert.txt requirements-docs.txt $(INSTALLED)
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

$(VENV)/.installed-docs: requirements-docs.txt $(INSTALLED)
	$(BIN)/python -m pip install --quiet -r requirements-docs.txt
	touch $@

clean:
	rm -rf $(VENV) results data site
