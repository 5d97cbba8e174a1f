# One command per intent. Each makes .venv on first use and needs nothing else but Python 3.11 to 3.13, git and make.
.DEFAULT_GOAL := help
.PHONY: help install demo chaos up down test test-campaigns test-releases lint bench

# Everything that running leaves behind is below .airlock, or below the folder that AIRLOCK_HOME names.
export AIRLOCK_HOME ?= $(CURDIR)/.airlock
export PYTHONPATH := $(CURDIR)/include
# Compiled modules too; .ci/install compiles the environment into the same place, once.
export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/bytecode
PYTHON := $(CURDIR)/.venv/bin/python
# Tools that import Airflow outside the sandbox get a home of their own, never the caller's ~/airflow.
TOOLS := AIRFLOW_HOME=$(AIRLOCK_HOME)/tools AIRFLOW__CORE__LOAD_EXAMPLES=False

# Service files read addresses that the sandbox chooses when it starts; for a check of the files any values will do, as
# long as each is another one: what is the same is told as shared.
CHECKED := $(shell grep -ohE '[$$][{]AIRLOCK_[A-Z0-9_]+' include/services/*.yaml | tr -d '$${' | sort -u | grep -v '^AIRLOCK_HOME$$' | awk '{print $$0 "=" 28000 + NR}')

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install:
	@.ci/install

demo: install ## Start the sandbox, take three releases through every stage, stop it again
	@$(PYTHON) -m sandbox demo

chaos: install ## Strike N releases (default 20) with faults that SEED chooses, and see whether each lands
	@$(PYTHON) -m sandbox chaos --number $(or $(N),20) $(if $(SEED),--seed $(SEED))

up: install ## Start the sandbox and leave it running (EXECUTOR=celery: with a broker and two workers)
	@$(PYTHON) -m sandbox up $(if $(EXECUTOR),--executor $(EXECUTOR))

down: install ## Stop the sandbox
	@$(PYTHON) -m sandbox down

# Each tier on real servers; ARGS="..." goes to pytest: ARGS="tests/backup -x". Three files at a time, as tests wait for
# servers half of their time; of whole releases two.
PYTEST := $(TOOLS) $(PYTHON) -m pytest --dist loadfile --no-loadscope-reorder

test: install ## Run all tests but campaigns and whole releases, and one whole release (ARGS="..." goes to pytest)
	@$(PYTEST) -n 3 -m "not campaign and (not end_to_end or one_release)" $(ARGS)

test-campaigns: install ## Run the tests that try very many cases (ARGS="--hypothesis-seed=N" repeats one)
	@$(PYTEST) -n 3 -m campaign $(ARGS)

test-releases: install ## Run whole releases in a real Airflow
	@$(PYTEST) -n 2 -m end_to_end $(ARGS)

lint: install ## Check style, types, layers and the service files
	@$(PYTHON) -m ruff check
	@$(TOOLS) $(PYTHON) -m mypy
	@$(PYTHON:python=lint-imports)
	@$(TOOLS) $(CHECKED) $(PYTHON) -m airlock services check

bench: install ## Measure, print the figures and write them to .airlock/bench.json
	@$(TOOLS) PYTHONPATH=$(CURDIR)/include:$(CURDIR) $(PYTHON) -m bench
