# `make demo` and `make test` need Python 3.11 to 3.13 and make, nothing else: both make their own
# environment in .venv first, and keep it until the requirements change.
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest
DOCS := .venv-docs
# Tests whose results have depended on versions: files, numbers, operations.
OLDEST_TESTS := tests/ops tests/metrics tests/datasets tests/plot tests/test_saving.py -m "not slow"
ARGS ?=
# The first, the cheapest, also runs the tests that are the same on every backend.
BACKENDS := torch tensorflow jax

.DEFAULT_GOAL := help
.PHONY: help demo test test-rest test-all test-tensorflow test-jax test-torch test-oldest lint format bench
.PHONY: clean docs docs-serve matrix

help:  ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/demo.stamp  ## Label photographs, train a small FCN-8s, serve it, show all on a page (some minutes)
	$(BIN)/python examples/demo.py $(ARGS)

test: $(VENV)/test.stamp  ## Test every promise, on TensorFlow, JAX and PyTorch in turn (ARGS="-k fcn" for some)
	@BIN=$(BIN) WORKERS=$(WORKERS) tests/run_backends.sh quick $(BACKENDS) -- $(ARGS)

test-rest: $(VENV)/test.stamp  ## Run the tests that `make test` leaves out: all families, many configurations, long runs
	@BIN=$(BIN) WORKERS=$(WORKERS) tests/run_backends.sh rest $(BACKENDS) -- $(ARGS)

test-all: test test-rest  ## Run all tests: `make test` and `make test-rest`

test-tensorflow test-jax test-torch: test-%: $(VENV)/test.stamp
	@BIN=$(BIN) WORKERS=$(WORKERS) tests/run_backends.sh all $* -- $(ARGS)

test-oldest: $(OLDEST)/test.stamp  ## Run part of the tests with the oldest versions that pyproject.toml allows
	@# Flags that the oldest JAX accepts.
	@BIN=$(OLDEST)/bin WORKERS=$(WORKERS) XLA_FLAGS=--xla_backend_optimization_level=1 tests/run_backends.sh quick tensorflow jax -- $(or $(ARGS),$(OLDEST_TESTS))

matrix:  ## Install with each backend alone on each Python that is there, run some tests, print a table
	@$(PYTHON) tests/run_matrix.py $(ARGS)

lint: $(VENV)/test.stamp  ## Check style (ruff) and types (mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/test.stamp  ## Fix style (ruff)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/test.stamp  ## Measure every figure that the documentation quotes
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

docs: $(DOCS)/docs.stamp  ## Build the documentation site into build/site; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict
	@$(DOCS)/bin/python docs/site/check.py build/site

docs-serve: $(DOCS)/docs.stamp  ## Show the documentation site while you write
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs serve

clean:  ## Remove the environments and the output of the demo
	rm -rf $(VENV) $(OLDEST) $(DOCS) .venv-matrix demo build dist .pytest_cache .ruff_cache

# A stamp is written last, so an interrupted installation is resumed. The test environment contains
# that of the demo, and both are in one folder.
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

$(DOCS)/bin/python:
	@echo 'Setting up $(DOCS) (a minute, once)'
	@$(PYTHON) -m venv $(DOCS)

$(DOCS)/docs.stamp: $(DOCS)/bin/python requirements/docs.txt
	@$(DOCS)/bin/python -m pip install --quiet -r requirements/docs.txt
	@touch $@
