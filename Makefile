# Two commands set everything up on a fresh machine: `make demo` and `make test`. Only Python >= 3.11 and make are presumed.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null 2>&1 && \
	$$p -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
unexport PYTHONDONTWRITEBYTECODE
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.DEFAULT_GOAL := help
.PHONY: tables help install demo test lint format bench soak lab lock spark clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

install: $(READY)  ## the locked packages and crm_core into .venv

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found; install it, or call make PYTHON=/path/to/python3"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --offline -e .
	$(BIN)/python -P flows/server_process.py --prepare
	@touch $(READY)

demo: $(READY)  ## sample data, the nightly flow, a campaign from plan to result; prints where the reports are
	$(BIN)/crm demo

test: $(READY)  ## lint and every test that this machine can run
	@$(BIN)/python -m tests.require
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -rs $(ARGS)

lint: $(READY)  ## style, types, floors of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## lets ruff lay out the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## ratios against the alternatives, 1 M members; prints a table and writes data/bench.json
	$(BIN)/python -m tests.bench $(ARGS)

soak: $(READY)  ## the long runs: seeds, kills, mutated files
	$(BIN)/python -m tests.soak $(ARGS)

lab: $(READY)  ## JupyterLab on the workspace's notebooks
	$(BIN)/jupyter lab --notebook-dir notebooks --LabApp.news_url= --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate $(ARGS)

spark: $(READY)  ## adds the Spark extra (Java 17 is needed)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r .ci/spark.lock

tables: $(READY)  ## makes the table descriptions in README.md anew
	$(BIN)/python -m tests.test_documents

lock: $(READY)  ## renews requirements.lock and .ci/spark.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' requirements.in -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' --constraint requirements.lock .ci/spark.in -o .ci/spark.lock

clean:  ## removes .venv and everything under data/ and reports/
	rm -rf $(VENV) data/* reports/*
