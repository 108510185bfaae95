# `make` lists the targets. Everything is set up in .venv; PYTHON=python3.12 picks another Python.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AUDIT := $(BIN)/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r /dev/stdin
ENGINES := tests/test_engines.py::test_engines_agree_event_for_event

.PHONY: help demo test bench soak faults fuzz coverage mutants audit lowest nightly lint clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/installed-demo  ## Run the main scenario: fetch a drone's flight, learn online, show what it cost
	@$(BIN)/eventnet run drone

test: lint  ## Lint, check types and run all tests
	@$(BIN)/python -m pytest -n 2 --durations 20

bench: $(VENV)/installed-bench  ## Time eventnet beside PyTorch, JAX, Numba, Brian2 and others; a quarter of an hour
	@$(BIN)/python -m benchmarks

soak: lint  ## Make 10^9 spikes; keep a live run busy, then be rude to it; balance a pole on ten seeds
	@$(BIN)/python -m tests.soak
	@EVENTNET_SOAK=120 $(BIN)/python -m pytest --timeout 3000 tests/test_live_command.py tests/test_balance.py

faults: $(VENV)/installed-dev  ## Cut 200 runs off and spoil their files, on both engines; twenty minutes
	@$(BIN)/python -m tests.faults

fuzz: $(VENV)/installed-dev  ## Fuzz every parser of files from elsewhere; ten minutes each, or SECONDS_EACH
	@$(BIN)/python -m pip install -qq --disable-pip-version-check atheris
	@$(BIN)/python -m tests.fuzz --seconds $${SECONDS_EACH:-600}

audit: $(VENV)/installed-dev  ## Look for known weaknesses of all that is installed, if a service answers
	@$(BIN)/python -m pip install -qq --disable-pip-version-check pip-audit
	@if $(BIN)/pip freeze --all | grep ^pip== | $(AUDIT) 2>&1 | grep -q "known vulnerabilit"; then \
	  $(BIN)/pip freeze --exclude-editable | $(AUDIT); \
	else echo "not audited: no advisory service answers here"; fi

lowest:  ## Test with the lowest versions that pyproject.toml declares, in .venv-lowest
	@"$(PYTHON)" -m venv .venv-lowest
	@.venv-lowest/bin/python -m pip install -qq --disable-pip-version-check uv
	@.venv-lowest/bin/uv pip install -q --python .venv-lowest --resolution lowest-direct -e ".[dev]"
	@.venv-lowest/bin/python -m pytest -n 2

# Of what compiles, the tests of compiling, and Figure 6, which keeps Temporal MNIST's order: without the JIT that takes
# hours. All else without the JIT, large networks left out.
coverage: $(VENV)/installed-dev  ## Measure the branches that tests reach, without the JIT, on small networks
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -q tests/test_jit.py tests/test_bound.py \
	  tests/test_reproduce.py::test_figure_6_has_neighbours_nearer_than_as_filed
	@NUMBA_DISABLE_JIT=1 HYPOTHESIS_PROFILE=few $(BIN)/coverage run -m pytest -q -n 2 @tests/large.txt
	@NUMBA_DISABLE_JIT=1 $(BIN)/coverage run -m pytest -q -n 2 tests/small_runs.py
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

mutants: $(VENV)/installed-dev  ## Change the source in 440 places, one at a time, and see that tests notice
	@$(BIN)/python -m pip install -qq --disable-pip-version-check cosmic-ray
	@$(BIN)/python -m tests.mutants

# Bounds are checked in kernels compiled anew; without the JIT the engines agree on the suite's networks.
nightly: lint  ## Compare the engines on 2,000 random networks, with bounds checked and without the JIT too
	@HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest --timeout 10000 $(ENGINES) tests/test_invariants.py \
	  tests/test_determinism.py
	@HYPOTHESIS_PROFILE=nightly NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(VENV)/boundscheck \
	  $(BIN)/python -m pytest --timeout 10000 $(ENGINES)
	@NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest --timeout 10000 $(ENGINES)

lint: $(VENV)/installed-dev  ## Lint and check types only
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy --no-error-summary

clean:  ## Remove .venv and its like and all caches; runs/ stays
	@rm -rf $(VENV) .venv-bench .venv-lowest build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -type d -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# One stamp a set of extras: pip runs again only after pyproject.toml has changed. dev includes the others.
$(VENV)/installed-demo $(VENV)/installed-bench $(VENV)/installed-dev: $(VENV)/installed-%: pyproject.toml | $(BIN)/python
	@echo "installing eventnet[$*] into $(VENV)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e ".[$*]"
	@touch $@ $(if $(filter dev,$*),$(VENV)/installed-demo $(VENV)/installed-bench)

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { echo "$(PYTHON) not found: install Python 3.11 or newer"; exit 1; }
	@"$(PYTHON)" -c 'import sys; v = ".".join(map(str, sys.version_info[:3])); sys.exit(0 if sys.version_info >= (3, 11) \
	  else f"$(PYTHON) is Python {v}: eventnet needs 3.11 or newer; name one, as in: make PYTHON=python3.12")'
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
