# The two commands of the README. Both make .venv on a machine with nothing but Python 3.11+, make and git.

SHELL := /bin/sh
VENV := .venv
CANDIDATES := python3 python3.11 python3.12 python3.13 python3.14
PYTHON ?= $(shell for p in $(CANDIDATES); do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
TOX := $(VENV)/bin/tox run
READY := $(VENV)/.ready

.PHONY: help chaos docker test oldest lint types check clean

help: ## Show the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1   /p' $(MAKEFILE_LIST)

chaos: $(READY) ## Run the quick chaos suites and print the verdicts
	@$(TOX) -q -e chaos

docker: $(READY) ## Run the quick chaos suites in containers
	@$(TOX) -q -e docker

test: $(READY) ## Run the project's own tests
	@$(TOX) -e tests

oldest: $(READY) ## Run chosen tests of locked_retry on the oldest supported releases of Celery and kombu
	@$(TOX) -e oldest

lint: $(READY) ## Check style and formatting
	@$(TOX) -e lint

types: $(READY) ## Check types
	@$(TOX) -e types

check: lint types test ## Everything that has to be green

$(READY): pyproject.toml locked_retry/pyproject.toml
	@test -n "$(PYTHON)" || { echo "taskchaos needs Python 3.11 or newer: install it, or set PYTHON=/path/to/python3"; exit 4; }
	@echo "setting up $(VENV) with $(PYTHON) (once)"
	@$(PYTHON) -m venv $(VENV) || { echo "this Python has no venv module: install it (Debian: python3-venv)"; exit 4; }
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable ./locked_retry --editable ".[fast]" "tox>=4.22"
	@touch $(READY)

clean: ## Remove everything that the targets above made
	rm -rf $(VENV) .tox .taskchaos build locked_retry/build *.egg-info locked_retry/*.egg-info .pytest_cache .mypy_cache .ruff_cache
