# Needs only Python 3.11 or newer, make and git: everything else comes from the package index that pip is set up for.

PYTHON ?= python3
UV_BIN := .uv/bin/uv
BIN := .venv/bin
STAMP := .venv/.installed
LOCK := --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --quiet

export UV_PYTHON_DOWNLOADS := never
unexport PYTHONDONTWRITEBYTECODE  # else every process that a test starts compiles what it imports

.DEFAULT_GOAL := help
.PHONY: help install up demo test quick hostile lint types check bench fuzz sdk histories lock clean

help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

install: $(STAMP) ## Install everything into .venv

up: install ## Start the embedded stack; Ctrl-C stops it
	@$(BIN)/studio up

demo: install ## Start the stack, run the example on the local model and leave it up until Ctrl-C
	@$(BIN)/python -m cli.demo

test: install ## Run every test
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder  # most wait for servers: three at a time suit two cores

quick: install ## Check style and imports, and run the tests of the core that start no server; about a minute
	$(BIN)/ruff check --quiet .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -n 2 --quick tests/studio

hostile: install ## Call the LLM engine 2,000 times, and 180 runs, on an upstream that answers as none should
	$(BIN)/pytest tests/field/upstreams --hostile-calls 2000

lint: install ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install ## Check types
	$(BIN)/basedpyright

check: lint types ## Check style, types and who may import whom
	$(BIN)/lint-imports --no-cache

bench: install ## Measure against the floors; results go to bench/results
	$(BIN)/python -m bench

fuzz: install ## Fuzz the three services by their OpenAPI documents, on a stack of its own; up to half an hour
	$(BIN)/python -m tests.fuzz

SDK ?= sdk
sdk: install ## Generate Python clients of the three services into SDK=sdk; docs/sdk.md
	$(BIN)/python -m tests.sdk.generate $(SDK)

histories: install ## Record the runs that the tests replay anew; docs/design/engine.md says when
	$(BIN)/python -m tests.workflows.histories.record

lock: $(UV_BIN) ## Pin what pyproject.toml asks for in requirements/; UPGRADE=1 takes the newest versions
	$(UV_BIN) pip compile $(LOCK) pyproject.toml --extra embedded --group dev -o requirements/dev.txt $(if $(UPGRADE),--upgrade)
	$(UV_BIN) pip compile $(LOCK) pyproject.toml --extra embedded -c requirements/dev.txt -o requirements/embedded.txt $(if $(UPGRADE),--upgrade)
	$(UV_BIN) pip compile $(LOCK) pyproject.toml -c requirements/dev.txt -o requirements/runtime.txt $(if $(UPGRADE),--upgrade)
	echo 'uv>=0.8' | $(UV_BIN) pip compile $(LOCK) --no-annotate - -o requirements/uv.txt $(if $(UPGRADE),--upgrade)

clean: ## Remove what make made; the stack's data in .studio stays
	rm -rf .venv .uv .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(UV_BIN): requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another one: make PYTHON=python3.12 install" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) lacks venv and pip. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@rm -rf .uv
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

# Compiled now: where PYTHONDONTWRITEBYTECODE is set, each process would compile all that it imports, for seconds.
$(STAMP): $(UV_BIN) requirements/dev.txt pyproject.toml
	@test -x $(BIN)/python || $(UV_BIN) venv --quiet --python $(PYTHON) .venv
	@echo "Installing the packages of requirements/dev.txt into .venv (about 2 GB; a few minutes the first time) ..."
	$(UV_BIN) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/dev.txt
	$(UV_BIN) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@
