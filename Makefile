# Every target sets up .venv first (requirements/setup.sh): minutes the first time, then a fraction of a second.
#   make PYTHON=/usr/bin/python3.12 ...       choose the interpreter
#   make LOCK=requirements/gpu.lock VENV=.venv-gpu setup      the GPU stack
SHELL := bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV ?= .venv
LOCK ?= requirements/cpu.lock
BIN := $(VENV)/bin
PYTEST_ARGS ?=
UV_VERSION := 0.13.9
export VENV LOCK PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo study test nightly lint typecheck unit report lock clean
STUDY := ablations/studies/clipping.yaml

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv hold the lock file and this package
	@bash requirements/setup.sh

# Into local/, because the same cells are in results/ already: made by us, they would count as done.
demo: setup ## train GRPO, DAPO and CE-GPPO on a toy task and write local/reports/demo/report.html
	@$(BIN)/cegppo doctor --quick
	@$(BIN)/cegppo run ablations/demo.yaml --results local/runs
	@$(BIN)/cegppo report ablations/demo.yaml --results local/runs --out local/reports

study: setup ## run what the study still lacks (hours; Ctrl-C is safe), then decide its claims: reports/clipping
	@$(BIN)/cegppo unpack results/archives/*.tar.xz
	@$(BIN)/cegppo study $(STUDY) --commands | while read -r command; do eval "$(BIN)/$$command" </dev/null || exit $$?; done
	@$(BIN)/cegppo study $(STUDY)

test: lint typecheck ## everything: style, types, tests, and the real verl + vLLM pipeline (cheap first)
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

unit: setup ## the tests that need no pipeline
	@$(BIN)/python -m pytest -m "not pipeline and not nightly" $(PYTEST_ARGS)

lint: setup ## ruff: style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

nightly: setup ## every loss through verl, two steps each; two ranks; Slurm (a quarter of an hour)
	@$(BIN)/python -m pytest -m nightly $(PYTEST_ARGS)

typecheck: setup ## mypy
	@$(BIN)/mypy

report: setup ## rebuild the committed reports from the committed records, and the index of losses
	@$(BIN)/cegppo unpack results/archives/*.tar.xz
	@$(BIN)/cegppo study $(STUDY)
	@$(BIN)/cegppo report ablations/methods.yaml
	@$(BIN)/cegppo report ablations/fig3_beta.yaml --scale toy-s
	@$(BIN)/cegppo report ablations/isolated_sides.yaml --scale toy-s
	@$(BIN)/cegppo report ablations/scale_axis.yaml
	@$(BIN)/cegppo report ablations/demo.yaml
	@$(BIN)/cegppo report ablations/smollm2.yaml
	@$(BIN)/cegppo report ablations/adaptive_beta.yaml
	@$(BIN)/cegppo report ablations/fig6_schedule.yaml --scale toy-xs
	@$(BIN)/cegppo check-loss --all --out reports/losses/contract.json
	@$(BIN)/cegppo losses --page reports/losses

lock: ## resolve requirements/*.lock again (UPGRADE=1: newest versions that fit)
	@test -x .venv-lock/bin/uv || { python3 -m venv .venv-lock && .venv-lock/bin/pip install -q uv==$(UV_VERSION); }
	@PATH="$(CURDIR)/.venv-lock/bin:$$PATH" python3 requirements/make_locks.py $(STACK) $(if $(UPGRADE),--upgrade)

clean: ## remove .venv and caches; never results/ or reports/
	rm -rf $(VENV) $(VENV).setup-lock .venv-lock .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
	find cegppo_verl tests requirements -name __pycache__ -type d -prune -exec rm -rf {} +
