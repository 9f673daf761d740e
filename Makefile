# `make demo` and `make test` need Python 3.11 to 3.13 and make, nothing else: both make their own
# environment in .venv first, and keep it until the requirements change.
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest
# Where versions have made a difference: files, numbers, operations.
OLDEST_TESTS := tests/ops tests/metrics tests/datasets tests/plot tests/test_saving.py -m "not slow"
ARGS ?=
# The first is the cheapest: it runs what is the same on all.
BACKENDS := torch tensorflow jax

.DEFAULT_GOAL := help
.PHONY: help demo test test-rest test-all test-tensorflow test-jax test-torch test-oldest lint format bench
.PHONY: clean

help:  ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/demo.stamp  ## Train a small FCN-8s, look at what it paints, serve it (about five minutes)
	$(BIN)/python examples/demo.py $(ARGS)

test: $(VENV)/test.stamp  ## Every promise, on TensorFlow, JAX and PyTorch in turn (ARGS="-k fcn" for some)
	@BIN=$(BIN) WORKERS=$(WORKERS) tests/run_backends.sh quick $(BACKENDS) -- $(ARGS)

test-rest: $(VENV)/test.stamp  ## What `make test` leaves out: all families, many configurations, long runs
	@BIN=$(BIN) WORKERS=$(WORKERS) tests/run_backends.sh rest $(BACKENDS) -- $(ARGS)

test-all: test test-rest  ## Both

test-tensorflow test-jax test-torch: test-%: $(VENV)/test.stamp
	@BIN=$(BIN) WORKERS=$(WORKERS) tests/run_backends.sh all $* -- $(ARGS)

test-oldest: $(OLDEST)/test.stamp  ## Part of the tests with the oldest versions that pyproject.toml allows
	@# Flags that the oldest JAX knows.
	@BIN=$(OLDEST)/bin WORKERS=$(WORKERS) XLA_FLAGS=--xla_backend_optimization_level=1 tests/run_backends.sh quick tensorflow jax -- $(or $(ARGS),$(OLDEST_TESTS))

lint: $(VENV)/test.stamp  ## Check style (ruff) and types (mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/test.stamp  ## Mend style (ruff)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/test.stamp  ## Measure every figure that the documentation quotes
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:  ## Remove the environment and what the demo wrote
	rm -rf $(VENV) $(OLDEST) demo build dist .pytest_cache .ruff_cache

# A stamp is made last, so an interrupted install is taken up again. The test environment contains
# the demo's, and both live in one place.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit("keras_dense is set up with Python 3.11 to 3.13 (that is what TensorFlow 2.21 runs on), this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12 ...")'
	@echo 'Setting up $(VENV) (some minutes, once)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(VENV)/bin/python requirements/demo.txt pyproject.toml
	@$(BIN)/python -m pip install --quiet -r requirements/demo.txt -e .
	@touch $@

$(VENV)/test.stamp: $(VENV)/bin/python requirements/demo.txt requirements/test.txt pyproject.toml
	@$(BIN)/python -m pip install --quiet -r requirements/test.txt -e .
	@touch $@ $(VENV)/demo.stamp

$(OLDEST)/bin/python:
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 13) or sys.exit("the oldest versions that keras_dense allows run on Python 3.11 and 3.12, this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12 ...")'
	@echo 'Setting up $(OLDEST) (some minutes, once)'
	@$(PYTHON) -m venv $(OLDEST)

$(OLDEST)/test.stamp: $(OLDEST)/bin/python requirements/oldest.txt pyproject.toml
	@$(OLDEST)/bin/python -m pip install --quiet -r requirements/oldest.txt -e .
	@touch $@
