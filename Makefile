# What people type. `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
UV_PIN := uv==0.13.9

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast check lint types imports format golden bench lock clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/demo-installed ## Install, and run the whole story on this machine
	$(BIN)/sluice demo

test: $(VENV)/dev-installed ## Install what tests need, and run all of them
	$(BIN)/pytest -n auto $(PYTEST_ARGS)

test-fast: $(VENV)/dev-installed ## Run the tests that need no server
	$(BIN)/pytest -n auto -m "not slow" $(PYTEST_ARGS)

check: lint types imports ## Lint, type check, and prove that imports run downhill

lint: $(VENV)/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev-installed
	$(BIN)/mypy

imports: $(VENV)/dev-installed
	$(BIN)/lint-imports

format: $(VENV)/dev-installed ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

golden: $(VENV)/dev-installed ## Write the golden manifests again, to be reviewed with git diff
	SLUICE_GOLDEN=write $(BIN)/pytest -q tests/gitops/test_golden.py

bench: $(VENV)/dev-installed ## Measure beside what teams use today, and keep the tables in docs/benchmarks.md
	.ci/mlflow
	.ci/serving
	SLUICE_MLFLOW="$(CURDIR)/.venv-mlflow/bin/mlflow" $(BIN)/python -m bench.registry --write
	$(BIN)/python -m bench.packaging --write
	$(BIN)/python -m bench.gitops --write

lock: $(VENV)/dev-installed ## Pin the dependencies' newest versions, with hashes
	$(PIP) install $(UV_PIN)
	$(BIN)/uv pip compile $(LOCK) pyproject.toml requirements/build.in --extra dev -o requirements/dev.txt
	$(BIN)/uv pip compile $(LOCK) pyproject.toml requirements/build.in --extra demo -c requirements/dev.txt -o requirements/demo.txt
	$(BIN)/uv pip compile $(LOCK) pyproject.toml --extra train -c requirements/dev.txt -o requirements/train.txt
	$(BIN)/uv pip compile $(LOCK) requirements/mlflow.in -o requirements/mlflow.txt
LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links

clean: ## Remove what was installed and cached
	rm -rf $(VENV) .venv-serving .venv-mlflow .venv-triton .venv-cosign .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .schemathesis .sluice

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Sluice needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/%-installed: requirements/%.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV), which takes about half a minute the first time …"
	@$(PIP) install --require-hashes --requirement $<
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
